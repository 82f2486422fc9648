// A host makes a meeting of their own in a real browser. Arguments: the bridge's address, name, password, folder for screenshots. Each line that it prints is a wish to
// who started it (`call NUMBER PIN`); the last one, `found`, says what it saw as JSON.
import { look } from "./look.mjs";

const [origin, user, password, folder] = process.argv.slice(2);
const { page, found, picture, check, say, end, until, button, signIn } = await look({ origin, folder });
const told = async () => Object.fromEntries(await page.locator("dialog .told div").evaluateAll((all) => all.map((div) => [div.children[0].textContent, div.children[1].textContent])));
const own = page.locator(".booking");

await page.goto(`${origin}/`);
await signIn(user, password);
await button("New meeting").click();
await page.getByLabel("Name", { exact: true }).fill("Figures of June");
await page.getByLabel("Who comes").selectOption("is in at once");
await page.getByLabel("Hidden unless shared").selectOption("just these");
await page.getByRole("checkbox", { name: "profile" }).uncheck();
await page.getByLabel("What an operator asks").fill("Company\n\n  Question ");
await page.getByLabel("Opens").fill("2020-01-31T09:00");
await check("new meeting");
await picture("portal-new-meeting");
await page.setViewportSize({ width: 390, height: 844 });
await check("new meeting on a phone");
found.overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
await page.setViewportSize({ width: 1100, height: 760 });
await button("Make it").click();
await page.locator("dialog .told").waitFor();
const made = await told();
found.told = Object.keys(made);
await check("the new meeting's PINs");
await button("Done").click();
await own.waitFor();
found.own = await own.locator("strong").allTextContents();
await check("own meetings");
await say(`call ${made["Meeting number"]} ${made["PIN of guests"]}`);
await page.locator(".meetings a", { hasText: "Figures of June" }).first().click();
await page.locator(".person").first().waitFor();
found.in = await page.locator(".person .number").allTextContents();
await page.goBack();

// What it is called now is what the form says; the rest is as it was.
await own.getByRole("button", { name: "Change" }).click();
found.before = await page.locator("dialog form").evaluate((form) => Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "withhold")));
found.hidden = await page.locator("dialog [name=withhold]").evaluateAll((all) => all.filter((box) => box.checked).map((box) => box.value));
await page.getByLabel("Closes").fill("2019-01-01T09:00");
await button("Save").click();
await until(() => document.querySelector("dialog [role=alert]").textContent !== "");
found.wrong = await page.locator("dialog [role=alert]").textContent();
await page.getByLabel("Closes").fill("");
await page.getByLabel("Name", { exact: true }).fill("Figures of July");
await button("Save").click();
await own.filter({ hasText: "Figures of July" }).waitFor();

// PINs for one person each.
await own.getByRole("button", { name: "PINs" }).click();
await button("For one host").click();
await page.locator("dialog .told").waitFor();
const one = await told();
await button("Done").click();
await say(`call ${one["Meeting number"]} ${one.PIN}`);
await own.getByRole("button", { name: "PINs" }).click();
await button("Take back").waitFor();
await check("PINs");
await picture("portal-pins");
await button("Take back").click();
await button("Take back").waitFor({ state: "detached" });
await page.keyboard.press("Escape");
await page.locator("dialog").waitFor({ state: "detached" });
await picture("portal-own");

await own.getByRole("button", { name: "Remove" }).click();
await button("Remove it").click();
await own.waitFor({ state: "detached" });
await end();
