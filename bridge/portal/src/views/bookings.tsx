// Meetings of one's own: made, changed, their PINs, taken away. PINs are shown when they are made, and never again.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { ask } from "../api";
import { Dialog, words } from "./parts";

/** What is said of a meeting; what is absent is as it is usual. */
interface Settings {
  title?: string;
  capacity?: number;
  lobby?: "off" | "until-host" | "admit";
  chimes?: boolean;
  announce_names?: boolean;
  language?: "en" | "de";
  withhold?: ("name" | "number" | "profile")[];
  refuse_anonymous?: boolean;
  fields?: string[];
  attendance?: true;
  opens_at?: string;
  closes_at?: string;
}

interface Booking {
  id: string;
  entry: string;
  numbers: string[];
  settings: Settings;
  on: boolean;
}

interface Pin {
  id: string;
  role: "guest" | "host";
  once: boolean;
  created_at: string;
}

/** What is shown once. */
interface Told {
  title: string;
  lines: [string, string][];
}

type Open = { what: "new" } | { what: "edit" | "pins" | "remove"; booking: Booking } | null;

const called = (booking: Booking) => booking.settings.title ?? `Meeting ${booking.entry}`;

export function Bookings() {
  const [own, setOwn] = useState<Booking[] | null>(null);
  const [open, setOpen] = useState<Open>(null);
  const [told, setTold] = useState<Told | null>(null);
  const [wrong, setWrong] = useState("");
  const look = useCallback(() => {
    ask<{ bookings: Booking[] }>("GET", "bookings").then(({ bookings }) => setOwn(bookings), (e) => setWrong(words(e)));
  }, []);
  useEffect(look, [look]);
  const close = () => setOpen(null);
  const made = (told: Told | null) => {
    setTold(told);
    close();
    look();
  };
  return (
    <section aria-labelledby="own">
      <h2 id="own">Meetings of yours</h2>
      <p role="alert" class="wrong">
        {wrong}
      </p>
      <ul class="meetings">
        {own?.map((booking) => (
          <li key={booking.id} class="booking">
            <span class="who">
              <strong>{called(booking)}</strong>
              <span class="number">
                {booking.numbers.length > 0 && `${booking.numbers.join(", ")} · `}meeting number {booking.entry}
                {booking.settings.opens_at && ` · ${when(booking.settings.opens_at)}`}
              </span>
            </span>
            <span class="acts">
              {booking.on && <a href={`#/meetings/${encodeURIComponent(booking.id)}`}>Go to it</a>}
              <button type="button" onClick={() => setOpen({ what: "edit", booking })} aria-haspopup="dialog" aria-label={`Change ${called(booking)}`}>
                Change
              </button>
              <button type="button" onClick={() => setOpen({ what: "pins", booking })} aria-haspopup="dialog" aria-label={`PINs of ${called(booking)}`}>
                PINs
              </button>
              <button type="button" class="quiet" onClick={() => setOpen({ what: "remove", booking })} aria-haspopup="dialog" aria-label={`Remove ${called(booking)}`}>
                Remove
              </button>
            </span>
          </li>
        ))}
      </ul>
      <p class="row">
        <button type="button" class="main" onClick={() => setOpen({ what: "new" })} aria-haspopup="dialog">
          New meeting
        </button>
      </p>
      {open?.what === "new" && <Form close={close} made={made} />}
      {open?.what === "edit" && <Form booking={open.booking} close={close} made={made} />}
      {open?.what === "pins" && <Pins booking={open.booking} close={close} made={made} />}
      {open?.what === "remove" && <Remove booking={open.booking} close={close} made={made} />}
      {told && (
        <Dialog label={told.title} close={() => setTold(null)}>
          <h2>{told.title}</h2>
          <dl class="told">
            {told.lines.map(([what, value]) => (
              <div key={what}>
                <dt>{what}</dt>
                <dd>{value}</dd>
              </div>
            ))}
          </dl>
          <p>PINs are shown now and never again: write them down, or make new ones later.</p>
          <p class="row">
            <button type="button" class="main" onClick={() => setTold(null)}>
              Done
            </button>
          </p>
        </Dialog>
      )}
    </section>
  );
}

const when = (time: string) => new Date(time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** A time as a field of a form has it, in the reader's own zone. */
function local(time: string | undefined): string {
  if (!time) return "";
  const at = new Date(time);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What a form says of a meeting. */
export function settings(form: FormData): Settings {
  const text = (name: string) => String(form.get(name) ?? "").trim();
  const time = (name: string) => (text(name) ? new Date(text(name)).toISOString() : undefined);
  const fields = text("fields")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const said = {
    title: text("title") || undefined,
    capacity: Number(text("capacity")) || undefined,
    lobby: text("lobby") || undefined,
    language: text("language") || undefined,
    chimes: text("coming") === "" ? undefined : text("coming") !== "quiet",
    announce_names: text("coming") === "" ? undefined : text("coming") === "names",
    withhold: text("hides") === "" ? undefined : form.getAll("withhold"),
    refuse_anonymous: form.has("known") || undefined,
    fields: fields.length > 0 ? fields : undefined,
    attendance: form.has("attendance") || undefined,
    opens_at: time("opens"),
    closes_at: time("closes"),
  };
  // What is not said is not there.
  return JSON.parse(JSON.stringify(said)) as Settings;
}

function Form({ booking, close, made }: { booking?: Booking; close: () => void; made: (told: Told | null) => void }) {
  const now = booking?.settings ?? {};
  const [wrong, setWrong] = useState("");
  const [hides, setHides] = useState(now.withhold !== undefined);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const said = settings(new FormData(event.currentTarget as HTMLFormElement));
    try {
      if (booking) {
        await ask("PUT", `bookings/${booking.id}`, said);
        return made(null);
      }
      const { numbers, entry, pin, host_pin } = await ask<{ numbers: string[]; entry: string; pin: string; host_pin: string }>("POST", "bookings", { settings: said });
      const dial: [string, string][] = numbers.length > 0 ? [["Number to call", numbers.join(", ")]] : [];
      made({ title: said.title ?? "The meeting is made", lines: [...dial, ["Meeting number", entry], ["PIN of guests", pin], ["PIN of hosts", host_pin]] });
    } catch (e) {
      setWrong(words(e));
    }
  };
  const coming = now.chimes === undefined && now.announce_names === undefined ? "" : now.announce_names ? "names" : now.chimes ? "chime" : "quiet";
  return (
    <Dialog label={booking ? `Change ${called(booking)}` : "New meeting"} close={close}>
      <form onSubmit={submit}>
        <h2>{booking ? "Change the meeting" : "New meeting"}</h2>
        {booking && <p class="muted-text">What you change holds from its next time on.</p>}
        <label>
          Name
          <input name="title" defaultValue={now.title ?? ""} maxLength={120} autocomplete="off" />
        </label>
        <label>
          Opens
          <input name="opens" type="datetime-local" defaultValue={local(now.opens_at)} />
        </label>
        <label>
          Closes
          <input name="closes" type="datetime-local" defaultValue={local(now.closes_at)} />
        </label>
        <Choice label="Who comes" name="lobby" value={now.lobby ?? ""} options={[["", "as usual here"], ["off", "is in at once"], ["until-host", "waits for a host"], ["admit", "waits to be let in"]]} />
        <Choice label="When somebody comes or goes" name="coming" value={coming} options={[["", "as usual here"], ["quiet", "nothing is heard"], ["chime", "a chime is heard"], ["names", "their name is heard, as they said it"]]} />
        <Choice label="Callers are spoken to in" name="language" value={now.language ?? ""} options={[["", "the usual language"], ["en", "English"], ["de", "German"]]} />
        <label>
          Hidden unless shared
          <select name="hides" value={hides ? "these" : ""} onChange={({ currentTarget }) => setHides(currentTarget.value !== "")}>
            <option value="">as usual here</option>
            <option value="these">just these</option>
          </select>
        </label>
        {hides && (
          <p class="checks">
            {(["name", "number", "profile"] as const).map((value) => (
              <Check key={value} name="withhold" value={value} on={now.withhold?.includes(value) ?? true}>
                {value}
              </Check>
            ))}
          </p>
        )}
        <label>
          What an operator asks each guest, a line each
          <textarea name="fields" rows={2} defaultValue={now.fields?.join("\n") ?? ""} />
        </label>
        <label>
          Participants at most
          <input name="capacity" type="number" min={1} max={10_000} defaultValue={now.capacity?.toString() ?? ""} />
        </label>
        <p class="checks">
          <Check name="attendance" value="yes" on={now.attendance ?? false}>
            Keep a list of who was there
          </Check>
          <Check name="known" value="yes" on={now.refuse_anonymous ?? false}>
            Refuse callers without a number
          </Check>
        </p>
        <p role="alert" class="wrong">
          {wrong}
        </p>
        <p class="row">
          <button type="submit" class="main">
            {booking ? "Save" : "Make it"}
          </button>
          <button type="button" class="quiet" onClick={close}>
            Cancel
          </button>
        </p>
      </form>
    </Dialog>
  );
}

function Choice({ label, name, value, options }: { label: string; name: string; value: string; options: [string, string][] }) {
  return (
    <label>
      {label}
      <select name={name}>
        {options.map(([option, text]) => (
          <option key={option} value={option} selected={option === value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

function Check({ name, value, on, children }: { name: string; value: string; on: boolean; children: ComponentChildren }) {
  return (
    <label class="check">
      <input type="checkbox" name={name} value={value} defaultChecked={on} />
      {children}
    </label>
  );
}

function Pins({ booking, close, made }: { booking: Booking; close: () => void; made: (told: Told | null) => void }) {
  const [pins, setPins] = useState<Pin[] | null>(null);
  const [wrong, setWrong] = useState("");
  const look = useCallback(() => {
    ask<{ pins: Pin[] }>("GET", `bookings/${booking.id}/pins`).then(({ pins }) => setPins(pins), (e) => setWrong(words(e)));
  }, [booking.id]);
  useEffect(look, [look]);
  const make = (what: string, body: { kind: string; role?: string }) => async () => {
    try {
      const { pin } = await ask<{ pin: string }>("POST", `bookings/${booking.id}/pins`, body);
      made({ title: what, lines: [["Meeting number", booking.entry], ["PIN", pin]] });
    } catch (e) {
      setWrong(words(e));
    }
  };
  const remove = (id: string) => ask("DELETE", `bookings/${booking.id}/pins/${id}`).then(look, (e) => setWrong(words(e)));
  return (
    <Dialog label={`PINs of ${called(booking)}`} close={close}>
      <h2>PINs of {called(booking)}</h2>
      <p role="alert" class="wrong">
        {wrong}
      </p>
      <div class="menu">
        <button type="button" onClick={make("A PIN for one person", { kind: "personal" })}>
          For one person
        </button>
        <button type="button" onClick={make("A PIN that is good once", { kind: "once" })}>
          For one person, good once
        </button>
        <button type="button" onClick={make("A PIN for one host", { kind: "personal", role: "host" })}>
          For one host
        </button>
        <button type="button" onClick={make("The guests’ new PIN", { kind: "guest" })}>
          Another for all guests
        </button>
        <button type="button" onClick={make("The hosts’ new PIN", { kind: "host" })}>
          Another for the hosts
        </button>
      </div>
      {pins && pins.length > 0 && (
        <ul class="queue">
          {pins.map(({ id, role, once, created_at }) => (
            <li key={id}>
              <span class="who">
                {role === "host" ? "A host’s" : "A guest’s"}
                {once && ", good once"}
                <span class="number">{when(created_at)}</span>
              </span>
              <button type="button" class="quiet" onClick={() => remove(id)}>
                Take back
              </button>
            </li>
          ))}
        </ul>
      )}
      <p class="row">
        <button type="button" class="quiet" onClick={close}>
          Close
        </button>
      </p>
    </Dialog>
  );
}

function Remove({ booking, close, made }: { booking: Booking; close: () => void; made: (told: Told | null) => void }) {
  const [wrong, setWrong] = useState("");
  const remove = () => ask("DELETE", `bookings/${booking.id}`).then(() => made(null), (e) => setWrong(words(e)));
  return (
    <Dialog label={`Remove ${called(booking)}`} close={close}>
      <h2>Remove {called(booking)}?</h2>
      <p>Its numbers and PINs are no longer good. Who is in it stays until they leave.</p>
      <p role="alert" class="wrong">
        {wrong}
      </p>
      <p class="row">
        <button type="button" class="danger" onClick={remove}>
          Remove it
        </button>
        <button type="button" class="quiet" onClick={close}>
          Keep it
        </button>
      </p>
    </Dialog>
  );
}
