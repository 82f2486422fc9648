// A meeting's feed: a WebSocket that comes back by itself. After a break, or where a message was missed, it begins with a new snapshot.

import { signal } from "@preact/signals";
import { type Attendance, ask, type Message, Refused, type Session, signedIn } from "./api";
import { table } from "./attendance";
import { ViewerKey } from "./keys";
import { Roster } from "./roster";

export type Link = "connecting" | "live" | "lost" | "over" | "gone";

const AGAIN = [500, 1000, 2000, 4000, 8000];

export class Feed {
  readonly roster = new Roster(null);
  readonly link = signal<Link>("connecting");
  key: ViewerKey | null = null;
  private socket: WebSocket | null = null;
  private tries = 0;
  private ended = false;
  private timer = 0;

  constructor(
    readonly conference: string,
    private readonly session: Session,
  ) {
    void this.connect();
  }

  private async connect() {
    try {
      if (!this.key && this.session.sees_names) {
        this.key = await ViewerKey.register();
        this.roster.use(this.key);
      }
      // A WebSocket that is refused does not say why.
      const { conferences } = await ask<{ conferences: { id: string }[] }>("GET", "conferences");
      if (this.ended) return;
      if (!conferences.some((c) => c.id === this.conference)) {
        this.link.value = "gone";
        return this.again();
      }
      const viewer = this.key ? `?viewer_key=${this.key.id}` : "";
      const url = new URL(`/v1/conferences/${this.conference}/events${viewer}`, location.href);
      url.protocol = url.protocol.replace("http", "ws");
      const socket = new WebSocket(url, ["sotto", `bearer.${signedIn.get()}`]);
      this.socket = socket;
      socket.onmessage = ({ data }) => this.take(JSON.parse(data as string) as Message);
      socket.onclose = ({ code }) => {
        if (this.socket !== socket) return;
        // The key or the token has ended.
        if (code === 1008) this.key = null;
        this.again();
      };
    } catch (wrong) {
      if (wrong instanceof Refused && wrong.status === 401) this.link.value = "over";
      else {
        if (wrong instanceof Refused && wrong.status === 410) this.key = null;
        this.again();
      }
    }
  }

  private take(message: Message) {
    if (!this.roster.take(message)) {
      // A message was missed.
      this.socket?.close();
      return;
    }
    this.tries = 0;
    this.link.value = message.conference?.state === "ended" ? "gone" : "live";
  }

  private again() {
    if (this.ended) return;
    if (this.link.value !== "gone") this.link.value = "lost";
    const wait = AGAIN[Math.min(this.tries, AGAIN.length - 1)] ?? 8000;
    this.tries += 1;
    this.timer = window.setTimeout(() => void this.connect(), wait * (0.75 + Math.random() / 2));
  }

  /** Looks no more. */
  end() {
    this.ended = true;
    clearTimeout(this.timer);
    this.socket?.close();
    if (this.key) ask("DELETE", `viewer-keys/${this.key.id}`).catch(() => {});
  }

  /** Steers the meeting. */
  steer(control: string): Promise<void> {
    return ask("POST", `conferences/${this.conference}/controls/${control}`);
  }

  rename(title: string | null): Promise<void> {
    return ask("PUT", `conferences/${this.conference}/title`, { title });
  }

  /** Does something to one participant. `expected` is shown until the bridge says how it is, and taken back where it refuses. */
  async act(id: string, action: string, expected: Partial<Message["participant"] & object> = {}): Promise<void> {
    const row = this.roster.rows.get(id);
    const before = row?.told.peek();
    const hoped = before && { ...before, ...expected };
    if (row && hoped) row.told.value = hoped;
    try {
      await ask("POST", `conferences/${this.conference}/participants/${id}/${action}`);
    } catch (wrong) {
      // Only where the bridge has not said anything newer.
      if (row && before && row.told.peek() === hoped) row.told.value = before;
      throw wrong;
    }
  }

  place(id: string, place: string): Promise<void> {
    return ask("PUT", `conferences/${this.conference}/participants/${id}/place`, { place });
  }

  /** Puts two on a private line that nobody else is on. */
  async talk(one: string, other: string): Promise<void> {
    const taken = new Set([...this.roster.rows.values()].map((row) => row.told.peek().line));
    let line = 1;
    while (taken.has(line)) line += 1;
    await this.place(one, `line-${line}`);
    await this.place(other, `line-${line}`);
  }

  /** A link by which one person comes in with their browser. */
  async invite(): Promise<string> {
    const { path } = await ask<{ path: string }>("POST", `conferences/${this.conference}/invitations`);
    return new URL(path, location.href).href;
  }

  /** What was noted of somebody: a value for each field, sealed here. */
  async note(id: string, values: string[]): Promise<void> {
    const key = this.key;
    if (!key) throw new Error("Your role notes nothing");
    const sealed = values.map((text) => text.trim()).map(async (text) => (text ? { jwe: await key.seal(text) } : null));
    await ask("PUT", `conferences/${this.conference}/participants/${id}/fields?viewer_key=${key.id}`, { fields: await Promise.all(sealed) });
  }

  /** Who was there, as a table. */
  async attendance(): Promise<string> {
    const viewer = this.key ? `?viewer_key=${this.key.id}` : "";
    return table(await ask<Attendance>("GET", `conferences/${this.conference}/attendance${viewer}`), this.key);
  }

  /** Has somebody called. */
  async dial(number: string): Promise<void> {
    if (!this.key) throw new Error("Your role calls nobody");
    const jwe = await this.key.seal(number);
    await ask("POST", `conferences/${this.conference}/participants?viewer_key=${this.key.id}`, { number: { jwe } });
  }
}
