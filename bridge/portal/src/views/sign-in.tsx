// Signing in: with an account, or with a token of the token file.

import { useEffect, useRef, useState } from "preact/hooks";
import { ask, Refused, type Session, signedIn } from "../api";
import { go, provider } from "../oidc";
import { words } from "./parts";

const OTP_NEEDED = "urn:sotto:problem:otp-needed";

export function SignIn({ entered, refused }: { entered: () => Promise<void>; refused: string }) {
  const [needsOtp, setNeedsOtp] = useState(false);
  const [byToken, setByToken] = useState(false);
  const [wrong, setWrong] = useState(refused);
  const [by, setBy] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  const otp = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), [byToken]);
  useEffect(() => void provider().then(setBy, () => {}), []);
  useEffect(() => {
    if (needsOtp) otp.current?.focus();
  }, [needsOtp]);

  async function submit(event: SubmitEvent) {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "");
    setBusy(true);
    setWrong("");
    try {
      if (byToken) {
        signedIn.set(text("token").trim());
        await ask<Session>("GET", "session");
      } else {
        const given = { user: text("user"), password: text("password"), ...(needsOtp ? { otp: text("otp") } : {}) };
        const opened = await ask<{ token: string }>("POST", "login", given);
        signedIn.set(opened.token);
      }
      await entered();
    } catch (e) {
      signedIn.clear();
      if (e instanceof Refused && e.kind === OTP_NEEDED) setNeedsOtp(true);
      else setWrong(words(e));
      setBusy(false);
    }
  }

  return (
    <main class="sign-in">
      <h1 class="brand">sotto</h1>
      <p class="claim">Meetings in which everybody decides what is shown of them.</p>
      <form onSubmit={submit}>
        {byToken ? (
          <label>
            Access token
            <input ref={first} name="token" type="password" autocomplete="off" required />
          </label>
        ) : (
          <>
            <label>
              Name
              <input ref={first} name="user" autocomplete="username" autocapitalize="none" spellcheck={false} required />
            </label>
            <label>
              Password
              <input name="password" type="password" autocomplete="current-password" required />
            </label>
            {needsOtp && (
              <label>
                One-time password
                <input ref={otp} name="otp" inputMode="numeric" autocomplete="one-time-code" required />
              </label>
            )}
          </>
        )}
        <p role="alert" class="wrong">
          {wrong}
        </p>
        <button type="submit" class="main" disabled={busy}>
          Sign in
        </button>
        {by && (
          <button type="button" onClick={() => go().catch((e) => setWrong(words(e)))}>
            Sign in with {by}
          </button>
        )}
        <button type="button" class="quiet" onClick={() => setByToken(!byToken)}>
          {byToken ? "Use name and password" : "Use an access token"}
        </button>
      </form>
    </main>
  );
}
