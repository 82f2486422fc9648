"""Signs a PASSporT (RFC 8588) with jwcrypto. Arguments: key file (PEM), URL of its certificate, caller, called, attestation, age in seconds."""

import json
import sys
import time

from jwcrypto import jwk, jws

file, url, caller, called, attest, age = sys.argv[1:]
with open(file, "rb") as pem:
    key = jwk.JWK.from_pem(pem.read())
claims = {
    "attest": attest,
    "dest": {"tn": [called]},
    "iat": int(time.time()) - int(age),
    "orig": {"tn": caller},
    "origid": "123e4567-e89b-12d3-a456-426655440000",
}
token = jws.JWS(json.dumps(claims).encode())
token.add_signature(key, None, json.dumps({"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": url}))
print(token.serialize(compact=True) + f";info=<{url}>;alg=ES256;ppt=shaken", end="")
