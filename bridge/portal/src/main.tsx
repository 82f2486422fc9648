// The page: signing in, the meetings there are now, one of them live.

import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { ask, Refused, type Session, signedIn } from "./api";
import { back } from "./oidc";
import { Meeting } from "./views/meeting";
import { Meetings } from "./views/meetings";
import { SignIn } from "./views/sign-in";

const session = signal<Session | null | undefined>(undefined);
const refused = signal("");
const place = signal(location.hash);
addEventListener("hashchange", () => (place.value = location.hash));

async function know() {
  if (!signedIn.get()) {
    session.value = null;
    return;
  }
  try {
    session.value = await ask<Session>("GET", "session");
  } catch (wrong) {
    if (wrong instanceof Refused && wrong.status === 401) signedIn.clear();
    session.value = null;
  }
}

/** Who comes back from the site's provider is signed in first. */
async function enter() {
  refused.value = await back();
  await know();
}

async function leave() {
  // A token of the token file has no session to end.
  await ask("DELETE", "session").catch(() => {});
  signedIn.clear();
  session.value = null;
}

function App() {
  useEffect(() => void enter(), []);
  if (session.value === undefined) return null;
  if (session.value === null) return <SignIn entered={know} refused={refused.value} />;
  const id = /^#\/meetings\/([^/]+)$/.exec(place.value)?.[1];
  if (id) return <Meeting key={id} id={decodeURIComponent(id)} session={session.value} leave={leave} />;
  return <Meetings session={session.value} leave={leave} />;
}

const root = document.getElementById("app");
if (root) render(<App />, root);
