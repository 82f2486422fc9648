"""Opens disclosed values with jwcrypto. In: a registration's answer and JWEs, as JSON; out: what was in them, as JSON."""

import json
import sys

from jwcrypto import jwe, jwk

asked = json.load(sys.stdin)
own = jwk.JWK(**asked["private"])
handed = jwe.JWE()
handed.deserialize(asked["handover"], own)
content = jwk.JWK(**json.loads(handed.payload))
values = []
for text in asked["values"]:
    value = jwe.JWE()
    value.deserialize(text, content)
    values.append(value.payload.decode())
json.dump(values, sys.stdout)
