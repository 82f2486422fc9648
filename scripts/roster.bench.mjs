// A bridge with 1,000 participants in one meeting, 49 programs and one browser that watch it, and controls over it. The floor is a message that a server of nothing else
// passes on to a page, measured the same way. Argument: the program `sotto`.
import { chromium } from "playwright-core";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PEOPLE = 1000;
const VIEWERS = 49;
const CHANGES = 300;
const CONTROLS = 2000;
const sotto = process.argv[2];
const folder = await mkdtemp(join(tmpdir(), "sotto-roster-"));
const rest = (ms) => new Promise((done) => setTimeout(done, ms));
const now = () => performance.timeOrigin + performance.now();
const at = (all, q) => [...all].sort((a, b) => a - b)[Math.min(all.length - 1, Math.floor(all.length * q))].toFixed(1);
const told = (all) => `${at(all, 0.5)} / ${at(all, 0.99)} / ${at(all, 1)}`;
const children = [];
async function quit(code) {
  children.forEach((child) => child.kill());
  await rm(folder, { recursive: true, force: true });
  process.exit(code);
}
process.on("uncaughtException", (wrong) => (console.error(wrong), quit(1)));

// The house.
await writeFile(join(folder, "token"), "bench\n");
await writeFile(
  join(folder, "bridge.toml"),
  `[node]\ndata_dir = "${folder}"\n[sip]\nlisten = ["udp://127.0.0.1:0"]\n[media]\naddress = "127.0.0.1"\n[http]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n` +
    `token_file = "${folder}/token"\n[conferences]\nadhoc_prefix = "conf"\ncapacity = 5000\n[[trunk]]\nname = "bench"\nfrom = ["127.0.0.0/8"]\n`,
);
const bridge = spawn(sotto, ["serve", "--drain-timeout", "0", "--config", join(folder, "bridge.toml")], { stdio: ["ignore", "pipe", "ignore"] });
children.push(bridge);
const ready = (await createInterface({ input: bridge.stdout })[Symbol.asyncIterator]().next()).value;
const sip = /sip=udp:\/\/([^, ]+)/.exec(ready)[1];
const origin = /http=(http:\/\/\S+)/.exec(ready)[1];
const ask = (method, path) => fetch(`${origin}/v1/${path}`, { method, headers: { Authorization: "Bearer bench" } });
children.push(spawn(sotto, ["load", "--server", sip, "--per-conf", String(PEOPLE), "--talkers", "3", "--seconds", "600"], { stdio: "ignore" }));
let id;
let people = [];
while (people.length < PEOPLE) {
  await rest(500);
  id ??= (await (await ask("GET", "conferences")).json()).conferences[0]?.id;
  if (id) people = (await (await ask("GET", `conferences/${id}/roster`)).json()).participants;
}
const act = (who, action) => ask("POST", `conferences/${id}/participants/${who}/${action}`);

// Who watches.
const heard = [];
let asked = 0;
let target = "";
let wished = "";
let change = 0;
const viewers = Array.from({ length: VIEWERS }, () => {
  const socket = new WebSocket(`${origin.replace("http", "ws")}/v1/conferences/${id}/events`, ["sotto", "bearer.bench"]);
  let seen = 0;
  socket.onmessage = ({ data }) => {
    if (data.length > 20_000) return;
    const { participant } = JSON.parse(data);
    if (participant?.id !== target || (participant.muted_by ?? "") !== wished || seen === change) return;
    seen = change;
    heard.push(now() - asked);
  };
  return socket;
});
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** Notes when the text of the element says something; what was asked for is said from outside. */
const look = (page, selector) =>
  page.evaluate((selector) => {
    window.seen_ = [];
    const element = document.querySelector(selector);
    let said = element.textContent;
    new MutationObserver(() => {
      const text = document.querySelector(selector)?.textContent ?? "";
      // What changes all the time is not what was asked for.
      if (text.includes("muted by a host") !== said.includes("muted by a host")) window.seen_.push(performance.timeOrigin + performance.now());
      said = text;
    }).observe(element, { childList: true, subtree: true, characterData: true });
  }, selector);

console.log("| what | p50 / p99 / longest, ms |\n|---|---|");

// The floor.
let push;
const floor = createServer((request, response) => {
  if (request.url === "/feed") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    push = (text) => response.write(`data: ${text}\n\n`);
  } else {
    response.setHeader("content-type", "text/html");
    response.end('<p id="row"></p><script>new EventSource("/feed").onmessage = ({ data }) => (document.getElementById("row").textContent = data);</script>');
  }
});
await new Promise((done) => floor.listen(0, "127.0.0.1", done));
const empty = await browser.newPage();
await empty.goto(`http://127.0.0.1:${floor.address().port}/`);
while (!push) await rest(10);
await look(empty, "#row");
const floors = [];
for (let n = 0; n < CHANGES; n += 1) {
  const before = now();
  push(n % 2 === 0 ? "muted by a host" : "");
  await empty.waitForFunction((n) => window.seen_.length > n, n);
  floors.push((await empty.evaluate((n) => window.seen_[n], n)) - before);
  await rest(5 + Math.random() * 20);
}
console.log(`| the floor: a message to a page with nothing else | ${told(floors)} |`);
await empty.close();

// The portal.
const page = await browser.newPage({ viewport: { width: 1100, height: 760 } });
await page.addInitScript(() => sessionStorage.setItem("sotto-token", "bench"));
await page.goto(`${origin}/#/meetings/${id}`);
await page.waitForSelector(".person");
await look(page, ".people");
target = people[0].id;
const browsers = [];
const answers = [];
let missed = 0;
for (let n = 0; n < CHANGES; n += 1) {
  wished = n % 2 === 0 ? "host" : "";
  change += 1;
  asked = now();
  const { status } = await act(target, n % 2 === 0 ? "mute" : "unmute");
  answers.push(now() - asked);
  if (status !== 204) missed += 1;
  await page.waitForFunction((n) => window.seen_.length > n, n);
  browsers.push((await page.evaluate((n) => window.seen_[n], n)) - asked);
  await rest(5 + Math.random() * 20);
}
console.log(`| mute or unmute asked for, until the answer | ${told(answers)} |`);
console.log(`| until ${VIEWERS} other viewers have it (${heard.length} of ${CHANGES * VIEWERS}) | ${told(heard)} |`);
console.log(`| until it is in the browser's page, of ${PEOPLE} rows (bar: p99 100) | ${told(browsers)} |`);

// 200 a second, on 200 people by turns, each of them as often muted as not.
target = "";
const lines = async () => (await readFile(join(folder, "audit.jsonl"), "utf8")).split("\n").filter((line) => line.includes('"mute"') || line.includes('"unmute"')).length;
const before = await lines();
const begun = now();
const waits = [];
const open = [];
for (let n = 0; n < CONTROLS; n += 1) {
  const due = begun + n * 5;
  if (due > now()) await rest(due - now());
  const sent = now();
  const action = Math.floor(n / 200) % 2 === 0 ? "mute" : "unmute";
  open.push(act(people[n % 200].id, action).then(({ status }) => (waits.push(now() - sent), status)));
}
const statuses = await Promise.all(open);
const rate = CONTROLS / ((now() - begun) / 1000);
const lost = statuses.filter((status) => status !== 204).length;
const muted = (await (await ask("GET", `conferences/${id}/roster`)).json()).participants.filter((p) => p.muted_by === "host").length;
await rest(500);
const audited = (await lines()) - before;
console.log(`| ${rate.toFixed(0)} controls a second for 10 s on one meeting: until the answer; ${lost} refused, ${muted} muted in the end (0 expected), ${audited} of ${CONTROLS} audited | ${told(waits)} |`);
viewers.forEach((socket) => socket.close());
await browser.close();
await quit(missed + lost + muted + Math.abs(CONTROLS - audited) === 0 ? 0 : 1);
