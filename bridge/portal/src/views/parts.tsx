// What several views have.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Refused, Unreachable } from "../api";

export function Bar({ title, leave, children }: { title: ComponentChildren; leave: () => void; children?: ComponentChildren }) {
  return (
    <header class="bar">
      <a class="brand" href="#/" aria-label="Sotto, all meetings">
        sotto
      </a>
      {title}
      {children}
      <button type="button" class="quiet" onClick={leave}>
        Sign out
      </button>
    </header>
  );
}

/** A dialog that is open as long as it is there. */
export function Dialog({ label, close, children }: { label: string; close: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const outside: JSX.MouseEventHandler<HTMLDialogElement> = (event) => {
    if (event.target === dialog.current) close();
  };
  return (
    <dialog ref={dialog} aria-label={label} onClose={close} onClick={outside}>
      {children}
    </dialog>
  );
}

/** What went wrong, in words for who reads it. */
export function words(wrong: unknown): string {
  if (wrong instanceof Refused) {
    if (wrong.wait) return `${wrong.message} (${wrong.wait} s)`;
    return wrong.message;
  }
  if (wrong instanceof Unreachable) return wrong.message;
  return wrong instanceof Error ? wrong.message : "It did not work";
}

/** Now, at most so many seconds old. */
export function useNow(seconds: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
  return now;
}

/** How long since then, in words. */
export function since(then: string, now: number): string {
  const minutes = Math.max(0, Math.floor((now - Date.parse(then)) / 60_000));
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
