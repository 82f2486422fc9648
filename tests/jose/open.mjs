// Opens disclosed values with jose. In: a registration's answer and JWEs, as JSON; out: what was in them, as JSON.
import { compactDecrypt, importJWK } from "jose";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString());
const own = await importJWK(asked.private, "ECDH-ES+A256KW");
const handed = await compactDecrypt(asked.handover, own);
const content = await importJWK(JSON.parse(new TextDecoder().decode(handed.plaintext)), "dir");
const values = [];
for (const text of asked.values) {
  values.push(new TextDecoder().decode((await compactDecrypt(text, content)).plaintext));
}
process.stdout.write(JSON.stringify(values));
