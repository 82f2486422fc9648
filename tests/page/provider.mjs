// A real OpenID Connect provider (npm oidc-provider) on this machine. Arguments: its port, the portal's address. Whoever signs in there is who they say they are, as
// its development pages have it; nobody@… has an address that is not verified. Prints `ready` when it listens.
import { Provider } from "oidc-provider";

const [port, portal] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "sotto", client_secret: "secret of the test's own", redirect_uris: [`${portal}/`], grant_types: ["authorization_code"], response_types: ["code"] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: id, email_verified: !id.startsWith("nobody") }) }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
