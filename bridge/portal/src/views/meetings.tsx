// The meetings that there are now.

import { useEffect, useState } from "preact/hooks";
import { ask, type Conference, type Session } from "../api";
import { Bookings } from "./bookings";
import { Bar, since, useNow, words } from "./parts";

const AGAIN = 4;

export function Meetings({ session, leave }: { session: Session; leave: () => void }) {
  const [all, setAll] = useState<Conference[] | null>(null);
  const [wrong, setWrong] = useState("");
  const now = useNow(AGAIN);
  useEffect(() => {
    let here = true;
    ask<{ conferences: Conference[] }>("GET", "conferences").then(
      ({ conferences }) => {
        if (!here) return;
        setAll(conferences);
        setWrong("");
      },
      (e) => here && setWrong(words(e)),
    );
    return () => {
      here = false;
    };
  }, [now]);
  useEffect(() => {
    document.title = "Meetings – Sotto";
  }, []);
  // Also those of one's own that nobody is in.
  const quiet = (session.conferences ?? []).filter((id) => !all?.some((c) => c.id === id));
  return (
    <>
      <Bar title={<h1>Meetings</h1>} leave={leave} />
      <main>
        <p role="alert" class="wrong">
          {wrong}
        </p>
        {all && all.length + quiet.length === 0 && <p class="empty">No meeting is on. One appears here when its first caller comes.</p>}
        <ul class="meetings">
          {all?.map((c) => (
            <li key={c.id}>
              <a href={`#/meetings/${encodeURIComponent(c.id)}`}>
                <strong>{c.title ?? c.id}</strong>
                <span>
                  {c.participants} in{c.waiting > 0 && `, ${c.waiting} waiting`}
                </span>
                <span class="muted-text">{c.participants > 0 ? `since ${since(c.started_at, now)}` : "nobody is in"}</span>
                {c.locked && <span class="chip">Locked</span>}
                {c.pins_guessed_at && <span class="chip alarm">PINs are being guessed</span>}
              </a>
            </li>
          ))}
          {all &&
            quiet.map((id) => (
              <li key={id}>
                <span class="quiet-meeting">
                  <strong>{id}</strong>
                  <span class="muted-text">nobody is in</span>
                </span>
              </li>
            ))}
        </ul>
        {session.books && <Bookings />}
      </main>
    </>
  );
}
