// Opens values that were sealed for a key outside (ECDH-ES): {"private", "values"} on stdin, a list on stdout.
import { compactDecrypt, importJWK } from "jose";
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const key = await importJWK(asked.private, "ECDH-ES");
const opened = [];
for (const value of asked.values) opened.push(new TextDecoder().decode((await compactDecrypt(value, key)).plaintext));
console.log(JSON.stringify(opened));
