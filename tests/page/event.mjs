// An event that stays open: an operator signs in, notes a value of each guest, talks to one in private, lets others in and one into the green room, and goes on looking.
// Arguments: the bridge's address, name, password, how many wait. Values to note come as lines of the standard input, as does the end. Prints `note N`, `open` and `found`.
import { tmpdir } from "node:os";
import { look } from "./look.mjs";

const [origin, user, password, count] = process.argv.slice(2);
const { page, found, say, end, until, button, signIn } = await look({ origin, folder: tmpdir() });

await page.goto(`${origin}/`);
await signIn(user, password);
await page.locator(".meetings a", { hasText: "event" }).click();
const guests = page.locator("section", { hasText: "Waiting to be let in" }).locator("li");
await until(`document.querySelectorAll("[aria-labelledby=waiting] li").length === ${count}`);
const names = await guests.locator(".name").allTextContents();
const guest = (n) => guests.filter({ hasText: names[n] });
for (let n = 0; n < Number(count); n += 1) {
  const value = await say(`note ${n}`);
  await guest(n).getByRole("button", { name: "Details" }).click();
  await page.getByLabel("Company").fill(value);
  await page.locator("dialog .note").getByRole("button", { name: "Save" }).click();
  await guest(n).locator(".noted").waitFor();
}
const row = (n) => page.locator(".person", { hasText: names[n] });
for (const n of [0, 2, 3]) {
  await guest(n).getByRole("button", { name: "Let in", exact: true }).click();
  await row(n).waitFor();
}
await row(0).getByRole("button", { name: /^More/ }).click();
await button("This is the operator’s line").click();
await row(0).locator(".chip", { hasText: "Operator" }).waitFor();
await guest(1).getByRole("button", { name: "Talk in private" }).click();
await row(0).locator(".chip", { hasText: "Private line 1" }).waitFor();
await row(2).getByRole("button", { name: /^More/ }).click();
await page.selectOption("dialog select", "green");
await row(2).locator(".chip", { hasText: "Green room" }).waitFor();
const [download] = await Promise.all([page.waitForEvent("download"), button("Attendance list").click()]);
await download.delete();
found.names = names.length;
await say("open");
await end();
