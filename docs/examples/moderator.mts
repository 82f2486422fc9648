/*
 * Runs the questions of a lecture: gives the floor to one raised hand after the other, in the order in which they were raised, each for so many seconds or until it is lowered.
 *
 *     SOTTO_TOKEN=… node --experimental-websocket moderator.mjs https://meet.example.com CONFERENCE SECONDS
 *
 * The token is a host's or an operator's (POST /v1/tokens). Nothing but the platform is needed: fetch and WebSocket. It knows people by pseudonym; names are for who looks with a key.
 */

export {};

declare const process: { argv: string[]; env: Record<string, string | undefined>; exit(code: number): never };

interface Participant {
  id: string;
  pseudonym: string;
  hand: boolean;
  hand_raised_at?: string;
  floor?: true;
  state: string;
}

interface Message {
  seq: number;
  kind: "snapshot" | "joined" | "updated" | "left" | "speaking" | "conference";
  conference?: { lecture: boolean };
  participant?: Participant;
  participants?: Participant[];
}

const [, , origin, conference, seconds] = process.argv;
const token = process.env["SOTTO_TOKEN"];
if (!origin || !conference || !seconds || !token) {
  console.error("usage: SOTTO_TOKEN=… moderator ORIGIN CONFERENCE SECONDS");
  process.exit(2);
}

const people = new Map<string, Participant>();
let lecture = false;
let seq = 0;
/** Who was given the floor, and until when they have it. */
let turn: { id: string; until: number } | null = null;

/** False: a message was missed, and a new snapshot is needed. */
function take(message: Message): boolean {
  if (message.kind !== "snapshot" && message.seq !== seq + 1) return false;
  seq = message.seq;
  if (message.kind === "snapshot") people.clear();
  if (message.conference) lecture = message.conference.lecture;
  for (const one of [...(message.participants ?? []), ...(message.participant ? [message.participant] : [])]) {
    if (one.state === "left") people.delete(one.id);
    else people.set(one.id, one);
  }
  return true;
}

async function control(id: string, action: string): Promise<boolean> {
  const answer = await fetch(`${origin}/v1/conferences/${conference}/participants/${id}/${action}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}` },
  });
  // They may have left in this moment.
  if (!answer.ok && answer.status !== 404) console.error(`${action}: ${answer.status}`);
  return answer.ok;
}

/** Whose question comes next. */
function next(): Participant | undefined {
  const hands = [...people.values()].filter((one) => one.hand);
  return hands.sort((a, b) => (a.hand_raised_at ?? "").localeCompare(b.hand_raised_at ?? ""))[0];
}

async function look(): Promise<void> {
  if (!lecture) return;
  const speaker = turn && people.get(turn.id);
  if (turn && speaker?.floor && Date.now() < turn.until) return;
  const question = next();
  if (!question) return;
  // Whoever had it before has it no more.
  if (await control(question.id, "only-floor")) {
    turn = { id: question.id, until: Date.now() + Number(seconds) * 1000 };
    console.log(`${question.pseudonym} has the floor`);
  }
}

const url = `${origin.replace(/^http/, "ws")}/v1/conferences/${conference}/events`;
let busy = Promise.resolve();
const again = () => (busy = busy.then(look));

/** Follows the meeting, whenever it is there. */
function follow(): void {
  const feed = new WebSocket(url, ["sotto", `bearer.${token}`]);
  feed.onmessage = ({ data }) => {
    if (take(JSON.parse(String(data)) as Message)) again();
    else feed.close();
  };
  feed.onclose = () => setTimeout(follow, 1000);
}

follow();
setInterval(again, 250);
