// What is known of a meeting: a signal for each row, so that a voice that gets louder draws one row and nothing else.

import { batch, type Signal, signal } from "@preact/signals";
import type { Conference, Message, Participant } from "./api";

/** What opens what a row carries. */
export interface Opener {
  open(jwe: string): Promise<string>;
}

/** A row, and what its envelopes had in them. */
export class Row {
  readonly told: Signal<Participant>;
  readonly name = signal("");
  readonly number = signal("");
  readonly profile = signal("");
  /** What was noted, by the conference's fields. */
  readonly fields = signal<string[]>([]);
  private readonly opened = new Map<string, string>();

  constructor(told: Participant, opener: Opener | null) {
    this.told = signal(told);
    this.open(told, opener);
  }

  take(told: Participant, opener: Opener | null) {
    this.told.value = told;
    this.open(told, opener);
  }

  private open(told: Participant, opener: Opener | null) {
    for (const of of ["name", "number", "profile"] as const) {
      this.openOne(of, told[of].jwe, opener, (text) => (this[of].value = text));
    }
    const count = Math.max(told.fields?.length ?? 0, this.fields.peek().length);
    for (let n = 0; n < count; n += 1) {
      this.openOne(`field ${n}`, told.fields?.[n]?.jwe, opener, (text) => {
        if (this.fields.peek()[n] === text) return;
        const all = Array.from({ length: count }, (_, m) => this.fields.peek()[m] ?? "");
        all[n] = text;
        this.fields.value = all;
      });
    }
  }

  private openOne(of: string, jwe: string | undefined, opener: Opener | null, show: (text: string) => void) {
    if (!jwe) {
      // Withheld is gone from here too, at once.
      this.opened.delete(of);
      show("");
    } else if (opener && this.opened.get(of) !== jwe) {
      this.opened.set(of, jwe);
      opener.open(jwe).then(
        (text) => {
          if (this.opened.get(of) === jwe) show(text);
        },
        // What does not open is shown as a pseudonym.
        () => {},
      );
    }
  }
}

/** A meeting, as its feed tells it. */
export class Roster {
  readonly conference: Signal<Conference | null> = signal(null);
  /** In the order of joining. */
  readonly order: Signal<string[]> = signal([]);
  readonly rows = new Map<string, Row>();
  /** Grows when somebody waits, raises a hand or goes elsewhere: for the lists beside the main one. */
  readonly shape = signal(0);
  /** What a screen reader is to say. */
  readonly news = signal("");
  seq = 0;

  constructor(private opener: Opener | null) {}

  /** With another key: the old one is over. */
  use(opener: Opener | null) {
    this.opener = opener;
  }

  /** Applies a message. False: one before it was missed, and a snapshot is needed. */
  take(message: Message): boolean {
    if (message.kind !== "snapshot" && message.seq !== this.seq + 1) return false;
    this.seq = message.seq;
    batch(() => {
      if (message.conference) this.conference.value = message.conference;
      if (message.participants) this.snapshot(message.participants);
      if (message.participant) this.row(message.kind, message.participant);
    });
    return true;
  }

  private snapshot(all: Participant[]) {
    const here = new Set(all.map((p) => p.id));
    for (const id of this.rows.keys()) if (!here.has(id)) this.rows.delete(id);
    for (const told of all) {
      const row = this.rows.get(told.id);
      if (row) row.take(told, this.opener);
      else this.rows.set(told.id, new Row(told, this.opener));
    }
    this.order.value = all.map((p) => p.id);
    this.shape.value += 1;
  }

  private row(kind: Message["kind"], told: Participant) {
    const row = this.rows.get(told.id);
    if (kind === "left") {
      if (!row) return;
      this.news.value = `${this.called(told.id)} left`;
      this.rows.delete(told.id);
      this.order.value = this.order.value.filter((id) => id !== told.id);
      this.shape.value += 1;
    } else if (row) {
      const before = row.told.peek();
      row.take(told, this.opener);
      this.tellOf(before, told);
    } else {
      this.rows.set(told.id, new Row(told, this.opener));
      this.order.value = [...this.order.value, told.id];
      this.news.value = told.lobby ? `${told.pseudonym} waits to be let in` : `${told.pseudonym} joined`;
      this.shape.value += 1;
    }
  }

  private tellOf(before: Participant, now: Participant) {
    const changed = before.lobby !== now.lobby || before.hand !== now.hand || before.breakout !== now.breakout || before.line !== now.line || before.role !== now.role || before.state !== now.state;
    if (changed) this.shape.value += 1;
    if (!before.hand && now.hand) this.news.value = `${this.called(now.id)} raised their hand`;
    if (before.lobby && !now.lobby) this.news.value = `${this.called(now.id)} was let in`;
  }

  /** What somebody is called: their name where they share it. */
  called(id: string): string {
    const row = this.rows.get(id);
    return row?.name.peek() || row?.told.peek().pseudonym || "Somebody";
  }
}
