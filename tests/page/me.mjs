// A participant's own page in a real browser. Arguments: the link, the host's command to look at the roster (JSON). Says what it found as JSON.
import { chromium } from "playwright-core";
import { execFileSync } from "node:child_process";

const [link, look] = process.argv.slice(2);
const origin = new URL(link).origin;
const found = { elsewhere: [], errors: [] };
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage({ viewport: { width: 390, height: 844 } });
page.on("request", (request) => new URL(request.url()).origin === origin || found.elsewhere.push(request.url()));
page.on("pageerror", (error) => found.errors.push(String(error)));
page.on("console", (message) => message.text().includes("Content Security Policy") && found.errors.push(message.text()));
const text = (id) => page.locator(`#${id}`).textContent();
const states = async () => Object.fromEntries(await Promise.all(["name", "number", "profile"].map(async (a) => [a, await text(`choice-${a}-state`)])));

// Without a link the page asks for a code.
await page.goto(new URL(link).href.split("#")[0]);
await page.waitForSelector("#enter:not([hidden])");
await page.fill("#code", "1");
await page.click("#enter button");
await page.waitForFunction(() => document.getElementById("status").classList.contains("wrong"));
found.wrongCode = await text("status");

// The link is followed while the page is open.
await page.goto(link);
await page.waitForSelector("#mine:not([hidden])");
found.address = page.url();
found.who = await text("who");
found.before = await states();
execFileSync(...JSON.parse(look));
await page.waitForSelector("#seen:not([hidden])");
found.saw = await page.locator("#seen tbody tr td:nth-child(n+2)").allTextContents();

// By keyboard alone.
await page.focus("#choice-number");
await page.keyboard.press("Space");
await page.waitForFunction(() => document.getElementById("choice-number-state").textContent === "hidden");
found.after = await states();
await page.click("#hide");
await page.waitForFunction(() => document.getElementById("choice-name-state").textContent === "hidden");
found.hidden = await states();

// The session lasts over a reload, in this tab only.
await page.reload();
await page.waitForSelector("#mine:not([hidden])");
found.reloaded = await states();
const other = await browser.newPage();
await other.goto(link);
await other.waitForFunction(() => document.getElementById("status").classList.contains("wrong"));
found.used = await other.locator("#status").textContent();
console.log(JSON.stringify(found));
await browser.close();
