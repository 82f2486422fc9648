// A host's story in a real browser. Arguments: the bridge's address, name, password, folder for screenshots. Each line that it prints is a wish to who
// started it (`press WHO KEYS`, `call WHO`), and the last one, `found`, says what it saw as JSON.
import { look } from "./look.mjs";

const [origin, user, password, folder] = process.argv.slice(2);
const { page, found, picture, check, say, end, until, button, row, signIn } = await look({ origin, folder });

// Signing in: a wrong password first.
await page.goto(`${origin}/`);
await signIn(user, "not the right words");
await until(() => document.querySelector("[role=alert]")?.textContent !== "");
found.wrong = await page.textContent("[role=alert]");
await check("sign-in");
await picture("portal-sign-in");
await signIn(user, password);

// The meetings, and one of them.
await page.waitForSelector(".meetings a");
found.meetings = await page.locator(".meetings strong").allTextContents();
await check("meetings");
await picture("portal-meetings");
await page.click(".meetings a");
await row("Ada Example").waitFor();
found.people = await page.locator(".person .name").allTextContents();
found.numbers = await page.locator(".person .number").allTextContents();
found.count = await page.textContent("[data-testid=count] strong");
found.scripts = await page.locator(".person img, .person script").count();
await page.waitForSelector(".person[data-speaking=true]");
found.speaks = await page.locator(".person[data-speaking=true] .name").first().textContent();

// Withheld in mid-call: gone from the page at once.
await say("press ada *67");
await until(() => !document.body.textContent.includes("Ada Example") && !document.body.textContent.includes("+12025550143"));
found.withheld = await row("Guest 2").locator(".number").textContent();
await say("press ada *82");
await row("Ada Example").waitFor();

// Muted by the host, and heard again.
await row("Ada Example").getByRole("button", { name: /^Mute/ }).click();
await row("Ada Example").locator(".chip", { hasText: "muted by a host" }).waitFor();
await row("Ada Example").getByRole("button", { name: /^Unmute/ }).click();
await until(() => !document.querySelector(".people").textContent.includes("muted by a host"));

// A hand, and the floor.
await page.getByRole("button", { name: "Lecture" }).click();
await page.locator(".person .chip", { hasText: "muted in the lecture" }).first().waitFor();
await say("press ada *2");
await page.waitForSelector("#hands");
await check("hands");
await picture("portal-meeting");
await page.setViewportSize({ width: 390, height: 844 });
await check("hands on a phone");
await picture("portal-meeting-phone");
found.overflow = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
await page.setViewportSize({ width: 1100, height: 760 });
await page.locator("section", { hasText: "Hands up" }).getByRole("button", { name: "Give the floor" }).click();
await row("Ada Example").locator(".chip", { hasText: "Has the floor" }).waitFor();
await page.getByRole("button", { name: "Lecture" }).click();

// Who comes waits, and is let in.
await page.getByRole("button", { name: "Lobby" }).click();
await page.locator("button[aria-pressed=true]", { hasText: "Lobby" }).waitFor();
await say("call eve");
await page.waitForSelector("#waiting");
found.waits = await page.locator(".queue .name").first().textContent();
await check("waiting");
await picture("portal-lobby");
await button("Let in").click();
await row("Eve Example").waitFor();
await page.getByRole("button", { name: "Lock" }).click();
await page.locator("button[aria-pressed=true]", { hasText: "Lock" }).waitFor();

// By keyboard: another name for the meeting.
await page.getByRole("button", { name: "Rename" }).focus();
await page.keyboard.press("Enter");
await page.waitForSelector("dialog[open] input:focus");
await page.keyboard.type("Figures of May");
await page.keyboard.press("Enter");
await until(() => document.title.startsWith("Figures of May"));
found.title = await page.title();

// One is removed, through the dialog.
await row("Eve Example").getByRole("button", { name: /^More/ }).click();
await page.waitForSelector("dialog[open]");
await check("dialog");
await picture("portal-dialog");
await page.getByRole("button", { name: "Remove from the meeting" }).click();
await row("Eve Example").waitFor({ state: "detached" });

// The session lasts over a reload; the meeting ends for all.
await page.reload();
await row("Ada Example").waitFor();
await button("End").click();
await page.getByRole("button", { name: "End it" }).click();
await until(() => document.querySelectorAll(".person").length === 0);
found.stored = await page.evaluate(() => Object.keys(localStorage).length + document.cookie.length);
await page.getByRole("button", { name: "Sign out" }).click();
await page.waitForSelector("[name=password]");
found.token = await page.evaluate(() => sessionStorage.getItem("sotto-token"));
await end();
