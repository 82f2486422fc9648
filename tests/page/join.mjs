// An invited participant's story in a real browser, with a fake microphone. Arguments: the link, folder for screenshots. Each line that it prints but the last
// says how far it is; the last one, `found`, says what it saw as JSON.
import { look } from "./look.mjs";

const [link, folder] = process.argv.slice(2);
const MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required"];
const { page, found, picture, check, say, end, until, button } = await look({
  origin: new URL(link).origin, folder, viewport: { width: 390, height: 844 }, args: MICROPHONE, permissions: ["microphone"],
});
const seen = (id) => page.waitForSelector(`#${id}:not([hidden])`);

await page.goto(link);
await seen("join");
found.before = await page.textContent("#status");
await check("join");
await picture("me-join");
await page.fill("#name", "Zoe Example");
await button("Join").click();
await seen("mine");
await say("joined");
found.name = await page.textContent("#choice-name-state");
// What is heard has a level.
found.hears = await page.evaluate(async () => {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(document.getElementById("sound").srcObject).connect(analyser);
  const frame = new Float32Array(analyser.fftSize);
  for (let n = 0; n < 200; n += 1) {
    await new Promise((next) => setTimeout(next, 50));
    analyser.getFloatTimeDomainData(frame);
    if (Math.max(...frame.map(Math.abs)) > 0.02) return true;
  }
  return false;
});
await check("mine");
await picture("me");
await page.click("#choice-name");
await until(() => document.getElementById("choice-name-state").textContent === "hidden");
await say("hidden");
await button("Mute").click();
await button("Unmute").waitFor();
await say("muted");
await button("Unmute").click();
await button("Mute").waitFor();
// A host puts her on hold, and takes her off it.
await say("hold");
await until(() => document.getElementById("status").textContent === "Your call is on hold.");
await say("resume");
await until(() => document.getElementById("status").textContent === "You are in the meeting.");
await button("Raise hand").click();
await button("Lower hand").waitFor();
await say("hand");
await button("Leave").click();
await seen("join");
await say("left");
// The same invitation's session comes in again, without a name this time.
await page.fill("#name", "");
await button("Join").click();
await seen("mine");
await say("again");
found.again = await page.textContent("#choice-name-state");
// A page that is closed says no goodbye.
await page.close();
await say("closed");
await end();
