// Signing in by a provider in a real browser. Arguments: the bridge's address, the provider's, folder for screenshots. The last line, `found`, says what it saw as JSON.
import { look } from "./look.mjs";

const [origin, provider, folder] = process.argv.slice(2);
const { page, context, found, picture, check, end, until, button } = await look({ origin, folder, others: [provider] });

/** Signs in at the provider, whose development pages take any password. */
async function signIn(who) {
  await page.goto(`${origin}/`);
  await button("Sign in with Example Ltd").click();
  await page.waitForURL(`${provider}/**`);
  await page.fill("[name=login]", who);
  await page.fill("[name=password]", "any");
  await page.click("[type=submit]");
  await page.locator("text=Continue").first().click();
  await page.waitForURL(`${origin}/**`);
}
const wrong = async () => {
  await until(() => document.querySelector("[role=alert]")?.textContent);
  return page.textContent("[role=alert]");
};

await page.goto(`${origin}/`);
await button("Sign in with Example Ltd").waitFor();
await check("sign-in with a provider");
await picture("portal-sign-in-provider");
await signIn("Ada@example.com");
await page.locator("h1", { hasText: "Meetings" }).waitFor();
found.address = page.url();
found.kept = await page.evaluate(() => [sessionStorage.getItem("sotto-oidc"), Object.keys(localStorage).length, document.cookie]);
await page.reload();
await page.locator("h1", { hasText: "Meetings" }).waitFor();
await button("Sign out").click();
await page.locator("[name=user]").waitFor();
// Who has no account here, or an address that nobody has verified.
for (const who of ["eve@example.com", "nobody@example.com"]) {
  await context.clearCookies();
  await signIn(who);
  found[who] = await wrong();
}
// A link that somebody else made, and one that is not what was begun here.
await page.goto(`${origin}/?code=abc&state=made-up`);
found.forged = await wrong();
await page.evaluate(() => sessionStorage.setItem("sotto-oidc", "made-up"));
await page.goto(`${origin}/?code=abc&state=made-up`);
found.unknown = await wrong();
// Who changes their mind at the provider.
await page.evaluate(() => sessionStorage.setItem("sotto-oidc", "mine"));
await page.goto(`${origin}/?error=access_denied&state=mine`);
found.denied = await wrong();
await end();
