"use strict";

// The link's token is behind the #, which browsers send to nobody; it is good once. The session that it opens lives in this tab only.
const KEY = "sotto-session";
const ATTRIBUTES = { name: "Your name", number: "Your number", profile: "Your profile" };
const AGAIN = 3000;
const at = (id) => document.getElementById(id);
let session = sessionStorage.getItem(KEY);
let busy = false;

function tell(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

async function ask(method, path, body) {
  const headers = body ? { "Content-Type": "application/json" } : {};
  if (session) headers.Authorization = `Bearer ${session}`;
  const answer = await fetch(`v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(said.title), { status: answer.status });
  return said;
}

async function open(ticket) {
  session = null;
  const opened = await ask("POST", "me/session", ticket);
  session = opened.token;
  sessionStorage.setItem(KEY, session);
}

function close(why) {
  session = null;
  sessionStorage.removeItem(KEY);
  at("mine").hidden = true;
  at("enter").hidden = false;
  tell(why, true);
}

function toggle(attribute, status) {
  const id = `choice-${attribute}`;
  let input = at(id);
  if (!input) {
    const row = document.createElement("label");
    row.htmlFor = id;
    row.className = "choice";
    const text = document.createElement("span");
    text.textContent = ATTRIBUTES[attribute];
    const state = document.createElement("small");
    state.id = `${id}-state`;
    input = document.createElement("input");
    Object.assign(input, { type: "checkbox", id });
    input.setAttribute("role", "switch");
    input.setAttribute("aria-describedby", state.id);
    input.addEventListener("change", () => choose({ [attribute]: input.checked ? "share" : "withhold" }));
    row.append(text, state, input);
    at("choices").append(row);
  }
  input.checked = status === "shared";
  const words = { shared: "shown", withheld: "hidden", absent: "not known" };
  at(`${id}-state`).textContent = words[status] ?? status;
}

function show(me) {
  const { participant, seen_by: seen } = me;
  at("enter").hidden = true;
  at("mine").hidden = false;
  at("who").textContent = `You are ${participant.pseudonym}`;
  for (const attribute of Object.keys(ATTRIBUTES)) toggle(attribute, participant[attribute].status);
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
  at("seen").tBodies[0].replaceChildren(...rows);
  const { muted, muted_by: by, hand, lobby } = participant;
  at("mute").textContent = !muted ? "Mute" : by === "own" ? "Unmute" : "Ask to speak";
  at("mute").dataset.action = muted ? "unmute" : "mute";
  at("hand").textContent = hand ? "Lower hand" : "Raise hand";
  at("hand").dataset.action = hand ? "lower-hand" : "raise-hand";
  at("acts").hidden = Boolean(lobby);
  const states = { live: "You are in the meeting.", held: "Your call is on hold.", joining: "You are joining." };
  const why = { own: "You are muted.", host: "The host has muted you.", lecture: "Only those who have the floor are heard now." };
  const state = lobby ? "Please wait: the host will let you in." : (states[participant.state] ?? "");
  tell([state, (muted && why[by]) || "", hand ? "Your hand is up." : ""].filter(Boolean).join(" "));
}

async function choose(choice) {
  busy = true;
  try {
    show(await ask("PUT", "me/disclosure", choice));
  } catch (wrong) {
    failed(wrong);
  } finally {
    busy = false;
  }
}

async function act(action) {
  busy = true;
  try {
    const me = await ask("POST", `me/controls/${action}`);
    if (action === "leave") close("You have left the meeting.");
    else show(me);
  } catch (wrong) {
    failed(wrong);
  } finally {
    busy = false;
  }
}

function failed(wrong) {
  if (wrong.status === 401 || wrong.status === 410) close(wrong.message);
  else tell(wrong.status ? wrong.message : "No connection to the meeting; trying again.", true);
}

async function refresh() {
  if (!session || busy) return;
  try {
    const me = await ask("GET", "me");
    if (!busy) show(me);
  } catch (wrong) {
    failed(wrong);
  }
}

at("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await open({ code: at("code").value });
    at("code").value = "";
    await refresh();
  } catch (wrong) {
    tell(wrong.message, true);
  }
});
at("hide").addEventListener("click", () => choose({ name: "withhold", number: "withhold", profile: "withhold" }));

for (const button of ["mute", "hand"]) at(button).addEventListener("click", () => act(at(button).dataset.action));
at("leave").addEventListener("click", () => act("leave"));

async function begin() {
  if (begin.done && !location.hash) return;
  begin.done = true;
  const link = location.hash.slice(1);
  // The token goes from the address bar and the history before anything else is done.
  history.replaceState(null, "", location.pathname);
  try {
    if (link) await open({ link });
    if (session) await refresh();
    else {
      at("enter").hidden = false;
      tell("");
    }
  } catch (wrong) {
    close(wrong.message);
  }
}

// Somebody may follow their link while the page is open.
addEventListener("hashchange", begin);
setInterval(refresh, AGAIN);
begin();
