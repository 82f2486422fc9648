// One participant: who they are as far as they share it, how they take part, and what a host can do.

import type { Row } from "../roster";
import type { Feed } from "../feed";
import { since } from "./parts";

const MUTED = { own: "muted by themselves", host: "muted by a host", lecture: "muted in the lecture" };
const VERIFIED = {
  full: ["✓", "number verified"],
  partial: ["✓", "number verified in part"],
  gateway: ["↗", "number from another network"],
  failed: ["!", "number not verified"],
} as const;

/** What a row does, reported where it is refused. */
export type Do = (what: () => Promise<void>) => void;

export function Who({ row }: { row: Row }) {
  const told = row.told.value;
  const name = row.name.value;
  const number = row.number.value;
  const verified = told.verified && VERIFIED[told.verified];
  return (
    <span class="who">
      <span class="name">
        {name || told.pseudonym}
        {name && <small class="pseudonym">{told.pseudonym}</small>}
      </span>
      <span class="number">
        {number || (told.number.status === "withheld" ? "number withheld" : "")}
        {row.fields.value.filter(Boolean).length > 0 && <span class="noted">{row.fields.value.filter(Boolean).join(" · ")}</span>}
        {number && verified && (
          <span class={`verified ${told.verified}`} title={verified[1]}>
            <span aria-hidden="true">{verified[0]}</span>
            <span class="sr">{verified[1]}</span>
          </span>
        )}
      </span>
    </span>
  );
}

/** How loud somebody is now: drawn without anything else. */
function Level({ row }: { row: Row }) {
  const { speaking, level } = row.told.value;
  // −60 dBov is nothing, −10 as loud as it gets.
  const loud = speaking ? Math.min(1, Math.max(0.06, (level + 60) / 50)) : 0;
  return (
    <span class="level" title={speaking ? "speaking" : ""} aria-hidden="true">
      <span class="bar-of-level" ref={(bar) => bar?.style.setProperty("--loud", loud.toFixed(2))} />
    </span>
  );
}

function Quality({ row }: { row: Row }) {
  const { quality } = row.told.value;
  if (!quality) return <span class="quality" />;
  const word = quality.mos >= 4 ? "good" : quality.mos >= 3.3 ? "fair" : "poor";
  const detail = `MOS ${quality.mos.toFixed(1)}, ${quality.loss.toFixed(1)} % lost, ${quality.jitter.toFixed(0)} ms jitter`;
  return (
    <span class={`quality ${word}`} title={detail}>
      {word}
      <span class="sr">{detail}</span>
    </span>
  );
}

export function Person({ row, feed, now, steers, attempt, more, place, count }: {
  row: Row;
  feed: Feed;
  now: number;
  steers: boolean;
  attempt: Do;
  more: (id: string) => void;
  place: number;
  count: number;
}) {
  const told = row.told.value;
  const called = row.name.value || told.pseudonym;
  const mute = () => {
    const muted = told.muted && told.muted_by !== "own";
    attempt(() => feed.act(told.id, muted ? "unmute" : "mute", muted ? { muted: false } : { muted: true, muted_by: "host" }));
  };
  const asks = told.muted_by === "own";
  return (
    <li class="person" aria-posinset={place} aria-setsize={count} data-id={told.id} data-state={told.state} data-speaking={told.speaking}>
      <Level row={row} />
      <Who row={row} />
      <span class="states">
        {told.hand && <span class="chip hand">Hand up</span>}
        {told.role === "host" && <span class="chip host">Host</span>}
        {told.hidden && <span class="chip">Listens unseen</span>}
        {told.state === "joining" && !told.lobby && <span class="chip">Joining</span>}
        {told.state === "held" && <span class="chip">On hold</span>}
        {told.muted && <span class="chip">{MUTED[told.muted_by ?? "host"]}</span>}
        {told.deaf && <span class="chip">Hears nothing</span>}
        {told.floor && <span class="chip floor">Has the floor</span>}
        {told.role === "operator" && <span class="chip host">Operator</span>}
        {told.green && <span class="chip">Green room</span>}
        {told.line && <span class="chip">Private line {told.line}</span>}
        {told.breakout && <span class="chip">Breakout {told.breakout}</span>}
      </span>
      <Quality row={row} />
      <time class="since" dateTime={told.joined_at}>
        {since(told.joined_at, now)}
      </time>
      {steers && (
        <span class="acts">
          <button type="button" onClick={mute} aria-label={`${asks ? "Ask to speak" : told.muted ? "Unmute" : "Mute"}: ${called}`}>
            {asks ? "Ask" : told.muted ? "Unmute" : "Mute"}
          </button>
          <button type="button" class="quiet" onClick={() => more(told.id)} aria-haspopup="dialog" aria-label={`More for ${called}`}>
            More
          </button>
        </span>
      )}
    </li>
  );
}
