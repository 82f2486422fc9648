// A participant's own page: what is shown of them and to whom it was, how they take part, and, for who is invited, coming in by this browser.
// The link's token is behind the #, which browsers send to nobody; it is good once. The session that it opens lives in this tab only.

import { Refused, ask as askWith, token } from "./api";
import { Call } from "./call";

const KEY = "sotto-session";
const AGAIN = 3000;
const NAMES = { name: "Your name", number: "Your number", profile: "Your profile" } as const;
type Attribute = keyof typeof NAMES;

interface Receipt {
  at: string;
  role: string;
  attributes: string[];
  masked?: string[];
}

interface Me {
  conference: string;
  participant:
    | (Record<Attribute, { status: string }> & {
        pseudonym: string;
        state: string;
        muted: boolean;
        muted_by?: "own" | "host" | "lecture";
        hand: boolean;
        lobby?: true;
      })
    | null;
  seen_by: Receipt[];
  noted?: string[];
  attendance?: true;
}

const at = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const button = (id: string) => at<HTMLButtonElement>(id);
const session = token(KEY);
const ask = <T>(method: string, path: string, body?: unknown) => askWith<T>(method, path, body, session);
let busy = false;
let call: Call | null = null;

function tell(text: string, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

async function open(ticket: { link: string } | { code: string }) {
  session.clear();
  const opened = await ask<{ token: string }>("POST", "me/session", ticket);
  session.set(opened.token);
}

function close(why: string) {
  session.clear();
  call?.end();
  call = null;
  for (const id of ["mine", "join"]) at(id).hidden = true;
  at("enter").hidden = false;
  tell(why, true);
}

function toggle(attribute: Attribute, status: string) {
  const id = `choice-${attribute}`;
  let input = at<HTMLInputElement | null & HTMLElement>(id) as HTMLInputElement | null;
  if (!input) {
    const row = document.createElement("label");
    row.htmlFor = id;
    row.className = "choice";
    const text = document.createElement("span");
    text.textContent = NAMES[attribute];
    const state = document.createElement("small");
    state.id = `${id}-state`;
    const made = document.createElement("input");
    Object.assign(made, { type: "checkbox", id });
    made.setAttribute("role", "switch");
    made.setAttribute("aria-describedby", state.id);
    made.addEventListener("change", () => choose({ [attribute]: made.checked ? "share" : "withhold" }));
    row.append(text, state, made);
    at("choices").append(row);
    input = made;
  }
  input.checked = status === "shared";
  const words: Record<string, string> = { shared: "shown", withheld: "hidden", absent: "not known" };
  at(`${id}-state`).textContent = words[status] ?? status;
}

function show(me: Me) {
  const { participant, seen_by: seen, noted = [], attendance } = me;
  at("enter").hidden = true;
  at("mine").hidden = !participant;
  at("join").hidden = participant !== null;
  if (!participant) {
    call?.end();
    call = null;
    tell("You are not in the meeting.");
    return;
  }
  at("who").textContent = `You are ${participant.pseudonym}`;
  for (const attribute of Object.keys(NAMES) as Attribute[]) toggle(attribute, participant[attribute].status);
  const rows = seen.toReversed().map(({ at: when, role, attributes, masked = [] }) => {
    const row = document.createElement("tr");
    const what = attributes.map((a) => (masked.includes(a) ? `end of ${a}` : a)).join(", ");
    const time = document.createElement("time");
    Object.assign(time, { dateTime: when, textContent: new Date(when).toLocaleTimeString() });
    for (const content of [time, role, what]) {
      const cell = document.createElement("td");
      cell.append(content);
      row.append(cell);
    }
    return row;
  });
  at("seen").hidden = rows.length === 0;
  at("nobody").hidden = rows.length > 0;
  at<HTMLTableElement>("seen").tBodies[0]?.replaceChildren(...rows);
  const kept = [
    noted.length > 0 && `An operator has noted of you: ${noted.join(", ")}. It goes when you hide everything.`,
    attendance && "The host gets a list of who was there. What you hide is not in it.",
  ].filter(Boolean);
  at("kept").textContent = kept.join(" ");
  at("kept").hidden = kept.length === 0;
  const { muted, muted_by: by, hand, lobby } = participant;
  button("mute").textContent = !muted ? "Mute" : by === "own" ? "Unmute" : "Ask to speak";
  button("mute").dataset["action"] = muted ? "unmute" : "mute";
  button("hand").textContent = hand ? "Lower hand" : "Raise hand";
  button("hand").dataset["action"] = hand ? "lower-hand" : "raise-hand";
  at("acts").hidden = Boolean(lobby);
  // Whose own wish it is to be muted is not even listened to.
  call?.listen(by !== "own");
  const states: Record<string, string> = { live: "You are in the meeting.", held: "Your call is on hold.", joining: "You are joining." };
  const why = { own: "You are muted.", host: "The host has muted you.", lecture: "Only those who have the floor are heard now." };
  const state = lobby ? "Please wait: the host will let you in." : (states[participant.state] ?? "");
  tell([state, muted && by ? why[by] : "", hand ? "Your hand is up." : ""].filter(Boolean).join(" "));
}

/** Does something, and shows what came of it. */
async function attempt(what: () => Promise<Me | void>) {
  busy = true;
  try {
    const me = await what();
    if (me) show(me);
  } catch (wrong) {
    failed(wrong);
  } finally {
    busy = false;
  }
}

const choose = (choice: Partial<Record<Attribute, "share" | "withhold">>) => attempt(() => ask<Me>("PUT", "me/disclosure", choice));

function failed(wrong: unknown) {
  if (wrong instanceof Refused && (wrong.status === 401 || wrong.status === 410)) close(wrong.message);
  else if (wrong instanceof Refused) tell(wrong.message, true);
  else if (wrong instanceof DOMException) tell("The microphone is not to be had; look at what this page may do.", true);
  else tell("No connection to the meeting; trying again.", true);
}

async function refresh() {
  if (!session.get() || busy) return;
  try {
    const me = await ask<Me>("GET", "me");
    if (!busy) show(me);
  } catch (wrong) {
    failed(wrong);
  }
}

at("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  const code = at<HTMLInputElement>("code");
  try {
    await open({ code: code.value });
    code.value = "";
    await refresh();
  } catch (wrong) {
    tell(wrong instanceof Error ? wrong.message : "", true);
  }
});
at("join").addEventListener("submit", (event) => {
  event.preventDefault();
  void attempt(async () => {
    call = await Call.join(ask, at<HTMLInputElement>("name").value.trim(), at<HTMLAudioElement>("sound"));
    return ask<Me>("GET", "me");
  });
});
at("hide").addEventListener("click", () => choose({ name: "withhold", number: "withhold", profile: "withhold" }));
for (const id of ["mute", "hand"]) {
  at(id).addEventListener("click", () => attempt(() => ask<Me>("POST", `me/controls/${button(id).dataset["action"]}`)));
}
at("leave").addEventListener("click", () =>
  attempt(async () => {
    await ask("POST", "me/controls/leave");
    call?.end();
    call = null;
    // Who was invited may come again; of who had a call, it is over.
    const me = await ask<Me>("GET", "me").catch(() => null);
    if (me) show(me);
    else close("You have left the meeting.");
  }),
);

let begun = false;
async function begin() {
  if (begun && !location.hash) return;
  begun = true;
  const link = location.hash.slice(1);
  // The token goes from the address bar and the history before anything else is done.
  history.replaceState(null, "", location.pathname);
  try {
    if (link) await open({ link });
    if (session.get()) await refresh();
    else {
      at("enter").hidden = false;
      tell("");
    }
  } catch (wrong) {
    close(wrong instanceof Error ? wrong.message : "");
  }
}

// Somebody may follow their link while the page is open.
addEventListener("hashchange", begin);
setInterval(refresh, AGAIN);
void begin();
