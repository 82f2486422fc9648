// The list of all who are in. A long one is drawn only as far as it is seen: rows have one height each, and the rest is empty room.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Feed } from "../feed";
import { Person, type Do } from "./person";

/** Up to so many are all drawn. */
const SHORT = 40;
/** So many at first, until it is known how many are seen. */
const FIRST = 12;
/** Rows drawn beyond what is seen, each way. */
const BEYOND = 8;

export function People({ feed, ids, now, steers, attempt, more }: {
  feed: Feed;
  ids: string[];
  now: number;
  steers: boolean;
  attempt: Do;
  more: (id: string) => void;
}) {
  const list = useRef<HTMLUListElement>(null);
  const [seen, setSeen] = useState<[number, number]>([0, FIRST]);
  const long = ids.length > SHORT;
  useEffect(() => {
    if (!long) return;
    const look = () => {
      const top = list.current?.getBoundingClientRect().top ?? 0;
      const height = rowHeight(list.current);
      const first = Math.max(0, Math.floor(-top / height) - BEYOND);
      // The list may begin far below what is seen.
      const last = Math.max(first, Math.ceil((innerHeight - top) / height) + BEYOND);
      setSeen(([a, b]) => (a === first && b === last ? [a, b] : [first, last]));
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [long]);
  const [first, last] = long ? [Math.min(seen[0], ids.length), Math.min(seen[1], ids.length)] : [0, ids.length];
  const room = (rows: number) => (element: HTMLLIElement | null) => element?.style.setProperty("--rows", String(rows));
  return (
    <ul class="people" ref={list} aria-label="In the meeting">
      {long && first > 0 && <li key="above" class="room" role="presentation" aria-hidden="true" ref={room(first)} />}
      {ids.slice(first, last).map((id, n) => {
        const row = feed.roster.rows.get(id);
        return row && (
          <Person key={id} row={row} feed={feed} now={now} steers={steers} attempt={attempt} more={more} place={first + n + 1} count={ids.length} />
        );
      })}
      {long && last < ids.length && <li key="below" class="room" role="presentation" aria-hidden="true" ref={room(ids.length - last)} />}
    </ul>
  );
}

/** As the style says. */
function rowHeight(list: HTMLElement | null): number {
  return (list && parseFloat(getComputedStyle(list).getPropertyValue("--row"))) || 64;
}
