// A page of the bridge's in headless Chromium, for who goes through a whole story on it: what it asks elsewhere, what goes wrong in it and what axe finds is kept.
import { chromium } from "playwright-core";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/** Opens a browser with one page. `origin` is the bridge's, `others` are where it may go besides, `folder` is for pictures. */
export async function look({ origin, folder, others = [], viewport = { width: 1100, height: 760 }, args = [], permissions = [] }) {
  const found = { elsewhere: [], errors: [], faults: [] };
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...QUIET, ...args] });
  const context = await browser.newContext({ viewport, permissions });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const of = (url) => new URL(url).origin.replace(/^ws/, "http");
  page.on("request", (request) => {
    // What pages of others ask for is theirs.
    const [from, to] = [of(request.frame().url() || "about:blank"), of(request.url())];
    if (to !== origin && !others.includes(from) && !others.includes(to)) found.elsewhere.push(request.url());
  });
  // And not had: nobody waits for it.
  if (others.length > 0) await page.route((url) => ![origin, ...others].includes(of(url.href)), (route) => route.abort());
  page.on("pageerror", (error) => found.errors.push(String(error)));
  page.on("console", (message) => message.text().includes("Content Security Policy") && found.errors.push(message.text()));
  const picture = (name) => page.screenshot({ path: `${folder}/${name}.png` });
  process.on("uncaughtException", async (wrong) => {
    console.error(wrong, found, await page.textContent("body").catch(() => ""));
    await picture("failed").catch(() => {});
    process.exit(1);
  });
  /** Notes what axe finds wrong with the page as it is, in light and in dark. */
  async function check(where) {
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.evaluate(axe);
      const { violations } = await page.evaluate((runOnly) => window.axe.run({ runOnly }), RULES);
      for (const { id, nodes } of violations) found.faults.push(`${where} (${colorScheme}): ${id}: ${nodes.map((n) => n.html).slice(0, 2)}`);
    }
    await page.emulateMedia({ colorScheme: "light" });
  }
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  /** Says how far it is, or wishes something, and waits until whoever started it has seen to that: what they answer. */
  async function say(line) {
    console.log(line);
    return (await lines.next()).value;
  }
  /** The last word: what was found. */
  async function end() {
    console.log(`found ${JSON.stringify(found)}`);
    await browser.close();
    process.exit(0);
  }
  const until = (what) => page.waitForFunction(what);
  const button = (name) => page.getByRole("button", { name, exact: true });
  const row = (who) => page.locator(".person", { hasText: who });
  /** Signs in on the portal. */
  async function signIn(user, password) {
    await page.fill("[name=user]", user);
    await page.fill("[name=password]", password);
    await page.keyboard.press("Enter");
  }
  return { page, context, found, picture, check, say, end, until, button, row, signIn };
}
