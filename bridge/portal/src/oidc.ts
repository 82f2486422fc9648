// Signing in by the site's own provider (OpenID Connect): this page sends the browser there, and is where it comes back to.

import { ask, signedIn, token, Refused } from "./api";

/** By what it is known that a browser which comes back has gone from here. */
const gone = token("sotto-oidc");

/** What the provider is called; null: there is none. */
export async function provider(): Promise<string | null> {
  try {
    return (await ask<{ name: string }>("GET", "oidc")).name;
  } catch (wrong) {
    if (wrong instanceof Refused && wrong.status === 404) return null;
    throw wrong;
  }
}

/** Goes there. */
export async function go(): Promise<void> {
  const { url, state } = await ask<{ url: string; state: string }>("POST", "oidc");
  gone.set(state);
  location.assign(url);
}

/** Signs in who has come back; what is wrong, in words. What the provider gave does not stay in the address. */
export async function back(): Promise<string> {
  const given = new URLSearchParams(location.search);
  const state = given.get("state");
  if (!state) return "";
  history.replaceState(null, "", location.pathname + location.hash);
  const expected = gone.get();
  gone.clear();
  if (state !== expected) return "This sign-in was not begun in this tab";
  const code = given.get("code");
  if (!code) return "The provider did not sign you in";
  try {
    signedIn.set((await ask<{ token: string }>("POST", "oidc/session", { code, state })).token);
    return "";
  } catch (wrong) {
    return wrong instanceof Error ? wrong.message : "It did not work";
  }
}
