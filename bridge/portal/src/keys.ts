// The viewer's own key. Its private part never leaves the browser, which cannot read it out either; names open with what the bridge hands over for it.

import { compactDecrypt, CompactEncrypt } from "jose";
import { ask } from "./api";

type Ask = <T>(method: string, path: string, body?: unknown) => Promise<T>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class ViewerKey {
  private constructor(
    readonly id: string,
    private readonly content: Uint8Array,
  ) {}

  /** Makes a key, tells the bridge its public part, and opens what it hands over. */
  static async register(path = "viewer-keys", by: Ask = ask): Promise<ViewerKey> {
    const pair = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
    const registered = await by<{ id: string; jwe: string }>("POST", path, { jwk: { kty, crv, x, y } });
    const { plaintext } = await compactDecrypt(registered.jwe, pair.privateKey);
    const { k } = JSON.parse(decoder.decode(plaintext)) as { k: string };
    const octets = atob(k.replaceAll("-", "+").replaceAll("_", "/"));
    return new ViewerKey(registered.id, Uint8Array.from(octets, (c) => c.charCodeAt(0)));
  }

  /** Opens a value. */
  async open(jwe: string): Promise<string> {
    const { plaintext } = await compactDecrypt(jwe, this.content);
    return decoder.decode(plaintext);
  }

  /** Seals a value that only the bridge's encrypted memory opens. */
  seal(text: string): Promise<string> {
    const header = { alg: "dir", enc: "A256GCM", kid: this.id };
    return new CompactEncrypt(encoder.encode(text)).setProtectedHeader(header).encrypt(this.content);
  }
}
