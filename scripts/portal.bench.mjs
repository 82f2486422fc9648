// The portal in headless Chromium, with a made-up feed of 1,000 participants: how long its frames take while it begins, while people speak, come and go, and
// while it is scrolled. The floor is a page with nothing in it. Argument: the built portal's folder.
import { chromium } from "playwright-core";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { join, normalize } from "node:path";

const ROWS = 1000;
const SECONDS = 10;
const folder = process.argv[2];
let loaded = 0;
const server = createServer(async (request, response) => {
  const path = request.url === "/" ? "index.html" : normalize(request.url).replace(/^\/+/, "");
  try {
    const file = await readFile(join(folder, path));
    loaded += gzipSync(file, { level: 9 }).length;
    response.setHeader("content-type", path.endsWith(".js") ? "text/javascript" : path.endsWith(".css") ? "text/css" : "text/html");
    response.end(file);
  } catch {
    response.statusCode = 404;
    response.end();
  }
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const origin = `http://127.0.0.1:${server.address().port}`;
const person = (n) => ({
  id: `p_${n}`, pseudonym: `Guest ${n + 1}`, role: "speaker", state: "live", muted: n % 3 === 0, ...(n % 3 === 0 ? { muted_by: "own" } : {}),
  sound: { gain: 0, noise_suppression: false }, speaking: false, hand: false, level: -127, quality: { mos: 4.4, loss: 0, jitter: 1, round_trip: null, hears: null },
  joined_at: new Date().toISOString(), name: { status: "withheld" }, number: { status: "withheld" }, profile: { status: "absent" },
});
const conference = { id: "confx", participants: ROWS, waiting: 0, locked: false, lecture: false, lobby: "off", capacity: 2000, state: "open", started_at: new Date().toISOString() };
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** Starts to note how long each frame takes. */
const watch = (page) =>
  page.evaluate(() => {
    window.frames_ = [];
    let last = performance.now();
    const next = (now) => {
      window.frames_.push(now - last);
      last = now;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
/** Median, 99th percentile, longest (ms), and how many were over 50 ms. */
async function seen(page) {
  const frames = (await page.evaluate(() => window.frames_.splice(0))).sort((a, b) => a - b);
  const at = (q) => frames[Math.min(frames.length - 1, Math.floor(frames.length * q))].toFixed(1);
  return `${at(0.5)} / ${at(0.99)} / ${at(1)} | ${frames.filter((f) => f > 50).length}`;
}
const rest = (ms) => new Promise((done) => setTimeout(done, ms));

console.log("| what | frames p50 / p99 / longest, ms | over 50 ms |\n|---|---|---|");
const floor = await browser.newPage();
await floor.goto("about:blank");
await watch(floor);
await rest(SECONDS * 1000);
console.log(`| the floor: an empty page, ${SECONDS} s | ${await seen(floor)} |`);
// Scrolling costs a browser without a graphics card something by itself.
const scroll = async (page) => {
  await page.mouse.move(500, 500);
  for (let n = 0; n < SECONDS * 10; n += 1) {
    await page.mouse.wheel(0, n < SECONDS * 5 ? 1200 : -1200);
    await rest(100);
  }
};
await floor.setViewportSize({ width: 1100, height: 760 });
const plain = Array.from({ length: ROWS }, (_, n) => `<li style="height:64px;border:1px solid">Guest ${n + 1} <button>Mute</button> <button>More</button></li>`).join("");
await floor.setContent(`<ul>${plain}</ul>`);
await watch(floor);
await scroll(floor);
console.log(`| the floor: a page of ${ROWS} plain rows, scrolled from end to end, ${SECONDS} s | ${await seen(floor)} |`);
await floor.close();

const page = await browser.newPage({ viewport: { width: 1100, height: 760 } });
await page.addInitScript(() => sessionStorage.setItem("sotto-token", "t"));
const json = (body) => (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify(body) });
await page.route("**/v1/session", json({ role: "host", conferences: null, steers: true, sees_names: false }));
await page.route("**/v1/conferences", json({ conferences: [conference] }));
let seq = 0;
let socket;
await page.routeWebSocket(/events/, (ws) => {
  socket = ws;
});
const send = (kind, more) => socket.send(JSON.stringify({ seq: ++seq, kind, at: new Date().toISOString(), ...more }));
await page.goto(`${origin}/#/meetings/confx`);
while (!socket) await rest(20);
await watch(page);
send("snapshot", { conference, participants: Array.from({ length: ROWS }, (_, n) => person(n)) });
await page.waitForSelector(".person");
await rest(1000);
console.log(`| 1,000 rows come at once, 1 s | ${await seen(page)} |`);
// Four speak, with a level ten times a second; ten a second change, one comes and one goes.
let tick = 0;
let newest = ROWS;
const timer = setInterval(() => {
  tick += 1;
  for (let n = 0; n < 4; n += 1) send("speaking", { participant: { ...person(n), speaking: true, level: -20 - ((tick * 7 + n * 5) % 30) } });
  send("updated", { participant: { ...person((tick * 37) % ROWS), hand: tick % 2 === 0 } });
  if (tick % 10 === 0) {
    send("joined", { participant: person(newest++) });
    send("left", { participant: { ...person(ROWS - 1 - tick / 10), state: "left" } });
  }
}, 100);
await rest(SECONDS * 1000);
console.log(`| four speak, ten a second change, one comes and goes, ${SECONDS} s | ${await seen(page)} |`);
await scroll(page);
console.log(`| the same while it is scrolled from end to end, ${SECONDS} s | ${await seen(page)} |`);
clearInterval(timer);
console.log(`| first load, packed: ${(loaded / 1000).toFixed(1)} kB (bar: 200) | – | – |`);
await browser.close();
server.close();
