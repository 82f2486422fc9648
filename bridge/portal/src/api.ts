// What the bridge is asked, with the token of who asks. It lives in this tab only.

/** What the bridge refused, as its problem document (RFC 9457) says it. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly kind: string,
    readonly wait?: number,
  ) {
    super(message);
  }
}

/** There was no answer. */
export class Unreachable extends Error {}

/** A token that this tab keeps, under a name of its own. */
export const token = (name: string) => ({
  get: () => sessionStorage.getItem(name),
  set: (value: string) => sessionStorage.setItem(name, value),
  clear: () => sessionStorage.removeItem(name),
});

/** The token of who has signed in. */
export const signedIn = token("sotto-token");

export async function ask<T = void>(method: string, path: string, body?: unknown, by = signedIn): Promise<T> {
  const headers: Record<string, string> = {};
  const bearer = by.get();
  if (bearer) headers["Authorization"] = `Bearer ${bearer}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(`/v1/${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  } catch {
    throw new Unreachable("No connection to the bridge");
  }
  const text = await answer.text();
  const said = text ? JSON.parse(text) : undefined;
  if (answer.ok) return said as T;
  const wait = Number(answer.headers.get("Retry-After")) || undefined;
  throw new Refused(answer.status, said?.detail ?? said?.title ?? answer.statusText, said?.type ?? "about:blank", wait);
}

/** What a token is good for. */
export interface Session {
  role: string;
  conferences: string[] | null;
  steers: boolean;
  sees_names: boolean;
  /** Whether meetings can be made with it. */
  books: boolean;
}

/** A conference in short. */
export interface Conference {
  id: string;
  title?: string;
  participants: number;
  waiting: number;
  locked: boolean;
  lecture: boolean;
  lobby: "off" | "until-host" | "admit";
  capacity: number;
  state: "open" | "ended";
  started_at: string;
  pins_guessed_at?: string;
  /** What an operator notes of each participant. */
  fields?: string[];
  /** There is a list of who was there. */
  attendance?: true;
}

/** A value that a participant shares, or does not. */
export interface Item {
  status: "shared" | "withheld" | "absent";
  jwe?: string;
  masked?: boolean;
  source?: string;
}

/** A row of the roster, as the bridge tells it. */
export interface Participant {
  id: string;
  pseudonym: string;
  role: "host" | "speaker" | "listener" | "operator";
  state: "joining" | "live" | "held" | "left";
  muted: boolean;
  muted_by?: "own" | "host" | "lecture";
  deaf?: true;
  lobby?: true;
  breakout?: number;
  line?: number;
  green?: true;
  floor?: true;
  speaking: boolean;
  hand: boolean;
  hand_raised_at?: string;
  level: number;
  quality: { mos: number; loss: number; jitter: number; round_trip: number | null } | null;
  joined_at: string;
  verified?: "full" | "partial" | "gateway" | "failed";
  outcome?: string;
  hidden?: true;
  name: Item;
  number: Item;
  profile: Item;
  /** What was noted, by the conference's fields. */
  fields?: Item[];
}

/** Who was there, as the bridge tells it. */
export interface Attendance {
  fields: string[];
  people: (Pick<Participant, "id" | "pseudonym" | "role" | "joined_at" | "name" | "number" | "profile" | "fields"> & { left_at: string | null })[];
}

/** A message of the feed. */
export interface Message {
  seq: number;
  kind: "snapshot" | "joined" | "updated" | "left" | "speaking" | "conference";
  at: string;
  conference?: Conference;
  participant?: Participant;
  participants?: Participant[];
}
