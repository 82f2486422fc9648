"""Opens values that were sealed for a key outside (ECDH-ES): {"private", "values"} on stdin, a list on stdout."""
import json
import sys

from jwcrypto import jwe, jwk

asked = json.load(sys.stdin)
key = jwk.JWK(**asked["private"])
opened = []
for value in asked["values"]:
    token = jwe.JWE()
    token.deserialize(value, key)
    opened.append(token.payload.decode())
print(json.dumps(opened))
