// An operator's story in a real browser. Arguments: the bridge's address, name, password, folder for screenshots. Each line that it prints but the last says how far it is;
// the last one, `found`, says what it saw as JSON.
import { readFile } from "node:fs/promises";
import { look } from "./look.mjs";

const [origin, user, password, folder] = process.argv.slice(2);
const { page, found, picture, check, say, end, until, button, row, signIn } = await look({ origin, folder });

await page.goto(`${origin}/`);
await signIn(user, password);
await page.click(".meetings a");
// The operator's own line is let in and marked.
const waiting = page.locator("section", { hasText: "Waiting to be let in" });
const waits = (who) => waiting.locator("li", { hasText: who });
await waits("Olga Example").getByRole("button", { name: "Let in", exact: true }).click();
await row("Olga Example").getByRole("button", { name: /^More/ }).click();
await button("This is the operator’s line").click();
await row("Olga Example").locator(".chip", { hasText: "Operator" }).waitFor();
// Of a number an operator sees the end.
found.number = await waits("Gina Example").locator(".number").textContent();
// In private with the guest, who is heard and hears, and nobody else.
await waits("Gina Example").getByRole("button", { name: "Talk in private" }).click();
await row("Olga Example").locator(".chip", { hasText: "Private line 1" }).waitFor();
await say("private");
// Exactly what the host asked for is noted.
await waits("Gina Example").getByRole("button", { name: "Details" }).click();
found.fields = await page.locator("dialog .note label").allTextContents();
await page.getByLabel("Company").fill("Example Ltd");
await check("details");
await picture("portal-details");
await page.locator("dialog .note").getByRole("button", { name: "Save" }).click();
await waits("Gina Example").locator(".noted", { hasText: "Example Ltd" }).waitFor();
await check("private line");
await picture("portal-operator");
await waits("Gina Example").getByRole("button", { name: "Let in", exact: true }).click();
await row("Gina Example").waitFor();
await until(() => !document.body.textContent.includes("Private line"));
await say("in");
// The question queue: one line at a time.
await button("Lecture").click();
await say("hands");
for (const who of ["Gina Example", "Hans Example"]) {
  await page.locator("section", { hasText: "Hands up" }).locator("li", { hasText: who }).waitFor();
}
await check("questions");
await picture("portal-questions");
for (const who of ["Gina Example", "Hans Example"]) {
  await button("Next question").click();
  await row(who).locator(".chip", { hasText: "Has the floor" }).waitFor();
}
found.floor = await page.locator(".person .chip.floor").count();
// The green room.
await row("Gina Example").getByRole("button", { name: /^More/ }).click();
await page.selectOption("dialog select", "green");
await row("Gina Example").locator(".chip", { hasText: "Green room" }).waitFor();
await say("green");
// The list of who was there. Who withholds is in it as a pseudonym, and what was noted of them is gone.
const list = async () => {
  const [download] = await Promise.all([page.waitForEvent("download"), button("Attendance list").click()]);
  const text = await readFile(await download.path(), "utf8");
  return text.trim().split("\r\n").map((line) => line.split(",").slice(0, 6).join(","));
};
found.before = await list();
await say("withhold");
await until(() => !document.body.textContent.includes("Example Ltd"));
found.after = await list();
await end();
