// One meeting, live: who waits, whose hands are up, who is in, and what hosts do.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Conference, Participant, Session } from "../api";
import { save } from "../attendance";
import { Feed } from "../feed";
import { Bar, Dialog, since, useNow, words } from "./parts";
import { People } from "./people";
import { Who, type Do } from "./person";
import type { Row } from "../roster";

const LINK = {
  connecting: "Connecting …",
  live: "",
  lost: "The connection is lost; trying again …",
  over: "You are signed out; sign in again.",
  gone: "Nobody is in this meeting now.",
};
/** Of a longer queue, so many are shown. */
const QUEUE = 50;
const PLACES = [
  ["meeting", "In the meeting"],
  ["green", "Green room"],
  ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`breakout-${n}`, `Breakout ${n}`] as const),
] as const;

export function Meeting({ id, session, leave }: { id: string; session: Session; leave: () => void }) {
  const feed = useMemo(() => new Feed(id, session), [id, session]);
  useEffect(() => () => feed.end(), [feed]);
  const [wrong, setWrong] = useState("");
  const [more, setMore] = useState<string | null>(null);
  const [asking, setAsking] = useState<"end" | "title" | "dial" | "invite" | null>(null);
  const now = useNow(15);
  const { roster } = feed;
  const conference = roster.conference.value;
  const link = feed.link.value;
  const title = conference?.title ?? id;
  useEffect(() => {
    document.title = `${title} – Sotto`;
  }, [title]);
  // What is counted beside the main list changes with this.
  roster.shape.value;
  const rows = roster.order.value.map((p) => roster.rows.get(p)).filter((row) => row !== undefined);
  const told = (of: (p: Participant) => boolean) => rows.filter((row) => of(row.told.peek()));
  const waiting = told((p) => p.lobby === true);
  const inside = told((p) => !p.lobby);
  const hands = told((p) => p.hand).sort((a, b) => (a.told.peek().hand_raised_at ?? "").localeCompare(b.told.peek().hand_raised_at ?? ""));
  const operator = rows.find((row) => row.told.peek().role === "operator")?.told.peek();
  const steers = session.steers && link === "live";
  // Who was talked to in private leaves the operator alone there, who is back in the meeting then.
  const letIn = async ({ id, line }: Participant) => {
    await feed.act(id, "admit");
    if (operator && line !== undefined && operator.line === line) await feed.place(operator.id, "meeting");
  };
  const attempt: Do = (what) => {
    setWrong("");
    what().catch((e) => setWrong(words(e)));
  };

  return (
    <>
      <Bar
        leave={leave}
        title={
          <h1>
            {title}
            {steers && (
              <button type="button" class="quiet" onClick={() => setAsking("title")} aria-haspopup="dialog">
                Rename
              </button>
            )}
          </h1>
        }
      />
      <main class="meeting">
        <p class="count" data-testid="count">
          <strong>{inside.length}</strong> in the meeting
          {waiting.length > 0 && `, ${waiting.length} waiting`}
          {conference && inside.length > 0 && <span class="muted-text"> · since {since(conference.started_at, now)}</span>}
        </p>
        <p role="status" class="link">
          {LINK[link]}
        </p>
        <p role="alert" class="wrong">
          {wrong}
        </p>
        <p class="sr" aria-live="polite">
          {roster.news.value}
        </p>
        {conference?.pins_guessed_at && (
          <p class="alarm">Somebody is guessing this meeting’s PINs. Look at who comes in, or lock the meeting.</p>
        )}
        {steers && conference && <Controls feed={feed} conference={conference} attempt={attempt} ask={setAsking} hands={hands.length} />}
        {session.steers && conference?.attendance && link !== "over" && (
          <p class="row">
            <button type="button" onClick={() => attempt(async () => save(`attendance-${id}.csv`, await feed.attendance()))}>
              Attendance list
            </button>
          </p>
        )}
        {waiting.length > 0 && (
          <section aria-labelledby="waiting">
            <h2 id="waiting">Waiting to be let in</h2>
            {steers && (
              <button type="button" onClick={() => attempt(() => feed.steer("admit-all"))}>
                Let all in
              </button>
            )}
            <ul class="queue">
              {waiting.slice(0, QUEUE).map((row) => (
                <li key={row.told.peek().id}>
                  <Who row={row} />
                  {steers && (
                    <span class="acts">
                      {operator && !row.told.peek().line && (
                        <button type="button" onClick={() => attempt(() => feed.talk(operator.id, row.told.peek().id))}>
                          Talk in private
                        </button>
                      )}
                      {(conference?.fields?.length ?? 0) > 0 && (
                        <button type="button" onClick={() => setMore(row.told.peek().id)} aria-haspopup="dialog">
                          Details
                        </button>
                      )}
                      <button type="button" onClick={() => attempt(() => letIn(row.told.peek()))}>
                        Let in
                      </button>
                      <button type="button" class="quiet" onClick={() => attempt(() => feed.act(row.told.peek().id, "remove"))}>
                        Turn away
                      </button>
                    </span>
                  )}
                </li>
              ))}
            </ul>
            <Rest of={waiting.length - QUEUE} />
          </section>
        )}
        {hands.length > 0 && (
          <section aria-labelledby="hands">
            <h2 id="hands">Hands up</h2>
            <ol class="queue">
              {hands.slice(0, QUEUE).map((row, n) => (
                <li key={row.told.peek().id}>
                  <Who row={row} />
                  {steers && (
                    <span class="acts">
                      {n === 0 && conference?.lecture && (
                        <button type="button" class="main" onClick={() => attempt(() => feed.act(row.told.peek().id, "only-floor"))}>
                          Next question
                        </button>
                      )}
                      <button type="button" onClick={() => attempt(() => feed.act(row.told.peek().id, "give-floor"))}>
                        Give the floor
                      </button>
                      <button type="button" class="quiet" onClick={() => attempt(() => feed.act(row.told.peek().id, "lower-hand", { hand: false }))}>
                        Lower
                      </button>
                    </span>
                  )}
                </li>
              ))}
            </ol>
            <Rest of={hands.length - QUEUE} />
          </section>
        )}
        <h2 class={waiting.length + hands.length > 0 ? "" : "sr"}>In the meeting</h2>
        <People feed={feed} ids={inside.map((row) => row.told.peek().id)} now={now} steers={steers} attempt={attempt} more={setMore} />
      </main>
      {more && <More feed={feed} id={more} close={() => setMore(null)} attempt={attempt} />}
      {asking === "end" && (
        <Dialog label="End the meeting" close={() => setAsking(null)}>
          <h2>End the meeting for everybody?</h2>
          <p>All hear that it is over, and their calls end.</p>
          <p class="row">
            <button type="button" class="danger" onClick={() => (attempt(() => feed.steer("end")), setAsking(null))}>
              End it
            </button>
            <button type="button" class="quiet" onClick={() => setAsking(null)}>
              Go on
            </button>
          </p>
        </Dialog>
      )}
      {asking === "invite" && <Invite feed={feed} close={() => setAsking(null)} />}
      {asking === "title" && (
        <Ask label="Name of the meeting" value={conference?.title ?? ""} close={() => setAsking(null)} done={(text) => attempt(() => feed.rename(text.trim() || null))} button="Rename" />
      )}
      {asking === "dial" && (
        <Ask label="Number to call, as +12025550143" value="" type="tel" close={() => setAsking(null)} done={(text) => attempt(() => feed.dial(text.replace(/[^+0-9]/g, "")))} button="Call" />
      )}
    </>
  );
}

/** What is not shown of a queue. */
function Rest({ of }: { of: number }) {
  return of > 0 ? <p class="muted-text">and {of} more</p> : null;
}

function Controls({ feed, conference, attempt, ask, hands }: {
  feed: Feed;
  conference: Conference;
  attempt: Do;
  ask: (what: "end" | "dial" | "invite") => void;
  hands: number;
}) {
  const { locked, lecture, lobby } = conference;
  const steer = (control: string) => () => attempt(() => feed.steer(control));
  return (
    <div class="controls" role="toolbar" aria-label="Meeting controls">
      <button type="button" onClick={steer("mute-all")}>
        Mute all
      </button>
      <button type="button" onClick={steer("unmute-all")}>
        Unmute all
      </button>
      <button type="button" aria-pressed={locked} onClick={steer(locked ? "unlock" : "lock")}>
        Lock
      </button>
      <button type="button" aria-pressed={lecture} onClick={steer(lecture ? "discussion" : "lecture")}>
        Lecture
      </button>
      <button type="button" aria-pressed={lobby !== "off"} onClick={steer(lobby === "off" ? "lobby-on" : "lobby-off")}>
        Lobby
      </button>
      {hands > 1 && (
        <button type="button" onClick={steer("lower-hands")}>
          Lower all hands
        </button>
      )}
      <button type="button" onClick={steer("recall")}>
        Bring all back
      </button>
      <button type="button" onClick={() => ask("dial")} aria-haspopup="dialog">
        Call somebody
      </button>
      <button type="button" onClick={() => ask("invite")} aria-haspopup="dialog">
        Invite
      </button>
      <button type="button" class="danger" onClick={() => ask("end")} aria-haspopup="dialog">
        End
      </button>
    </div>
  );
}

/** All that can be done with one participant. */
function More({ feed, id, close, attempt }: { feed: Feed; id: string; close: () => void; attempt: Do }) {
  const row = feed.roster.rows.get(id);
  useEffect(() => {
    if (!row) close();
  });
  if (!row) return null;
  const told = row.told.value;
  const act = (action: string) => () => {
    attempt(() => feed.act(id, action));
    close();
  };
  const put = (place: string) => {
    attempt(() => feed.place(id, place));
    close();
  };
  const fields = feed.roster.conference.value?.fields ?? [];
  const place = told.green ? "green" : told.breakout ? `breakout-${told.breakout}` : "meeting";
  return (
    <Dialog label={`Controls for ${feed.roster.called(id)}`} close={close}>
      <h2>
        <Who row={row} />
      </h2>
      {fields.length > 0 && <Note feed={feed} row={row} fields={fields} attempt={attempt} close={close} />}
      <div class="menu">
        <button type="button" onClick={act(told.role === "host" ? "make-speaker" : "make-host")}>
          {told.role === "host" ? "Take the host’s role" : "Make a host"}
        </button>
        <button type="button" onClick={act(told.role === "operator" ? "make-speaker" : "make-operator")}>
          {told.role === "operator" ? "Take the operator’s role" : "This is the operator’s line"}
        </button>
        <button type="button" onClick={act(told.floor ? "take-floor" : "give-floor")}>
          {told.floor ? "Take the floor" : "Give the floor"}
        </button>
        <button type="button" onClick={act(told.deaf ? "hear" : "deafen")}>
          {told.deaf ? "Let hear again" : "Let hear nothing"}
        </button>
        <button type="button" onClick={act(told.state === "held" ? "resume" : "hold")}>
          {told.state === "held" ? "Take off hold" : "Put on hold"}
        </button>
        {(told.name.status !== "shared" || told.number.status !== "shared") && (
          <button type="button" onClick={act("ask")}>
            Ask to show name and number
          </button>
        )}
        <label>
          Where
          <select value={place} onChange={({ currentTarget }) => put(currentTarget.value)}>
            {PLACES.map(([value, text]) => (
              <option key={value} value={value}>
                {text}
              </option>
            ))}
          </select>
        </label>
        <button type="button" class="danger" onClick={act("remove")}>
          Remove from the meeting
        </button>
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </div>
    </Dialog>
  );
}

/** What the host wants to know of each. */
function Note({ feed, row, fields, attempt, close }: { feed: Feed; row: Row; fields: string[]; attempt: Do; close: () => void }) {
  const told = row.told.value;
  const values = row.fields.value;
  if (told.profile.status === "withheld") return <p class="muted-text">They withhold their profile: nothing is noted of them.</p>;
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const data = new FormData(event.currentTarget as HTMLFormElement);
    attempt(() => feed.note(told.id, fields.map((_, n) => String(data.get(`field-${n}`) ?? ""))));
    close();
  };
  return (
    <form class="note" onSubmit={submit}>
      {fields.map((label, n) => (
        // Drawn anew when what is noted has changed, and not while somebody writes.
        <label key={`${n} ${values[n] ?? ""}`}>
          {label}
          <input name={`field-${n}`} defaultValue={values[n] ?? ""} maxLength={240} autocomplete="off" />
        </label>
      ))}
      <p class="row">
        <button type="submit" class="main">
          Save
        </button>
      </p>
    </form>
  );
}

/** A link by which one person comes in with their browser. */
function Invite({ feed, close }: { feed: Feed; close: () => void }) {
  const [link, setLink] = useState("");
  const [said, setSaid] = useState("");
  useEffect(() => {
    feed.invite().then(setLink, (e) => setSaid(words(e)));
  }, [feed]);
  const copy = () =>
    navigator.clipboard.writeText(link).then(
      () => setSaid("Copied."),
      () => setSaid("Copy it by hand, please."),
    );
  return (
    <Dialog label="Invite somebody" close={close}>
      <h2>Invite somebody</h2>
      <p>This link lets one person in with their browser. It is good once, within a day.</p>
      <label>
        Link
        <input readOnly value={link} onFocus={({ currentTarget }) => currentTarget.select()} />
      </label>
      <p role="status">{said}</p>
      <p class="row">
        <button type="button" class="main" onClick={copy} disabled={!link}>
          Copy
        </button>
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </p>
    </Dialog>
  );
}

/** Asks for one line. */
function Ask({ label, value, type, button, done, close }: {
  label: string;
  value: string;
  type?: string;
  button: string;
  done: (text: string) => void;
  close: () => void;
}) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    done(String(new FormData(event.currentTarget as HTMLFormElement).get("text") ?? ""));
    close();
  };
  return (
    <Dialog label={label} close={close}>
      <form onSubmit={submit}>
        <label>
          {label}
          <input name="text" type={type ?? "text"} defaultValue={value} maxLength={120} autocomplete="off" />
        </label>
        <p class="row">
          <button type="submit" class="main">
            {button}
          </button>
          <button type="button" class="quiet" onClick={close}>
            Cancel
          </button>
        </p>
      </form>
    </Dialog>
  );
}
