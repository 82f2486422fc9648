"""Takes Sotto's webhooks, and refuses what is not signed, not fresh, or was there before. Python's own library is enough.

    python3 webhook.py PORT SECRET_FILE

Prints a line for each message that it took.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

FRESH = 300  # seconds
KEPT = 7200  # as long as Sotto goes on trying, and longer
port, secret_file = int(sys.argv[1]), sys.argv[2]
with open(secret_file) as file:
    key = base64.b64decode(file.read().strip().removeprefix("whsec_"))
seen: dict[str, float] = {}


def is_right(headers, body: bytes) -> bool:
    """Whether Sotto wrote this, just now (https://www.standardwebhooks.com)."""
    message, when = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not when.isdigit() or abs(time.time() - int(when)) > FRESH:
        return False
    signed = hmac.new(key, f"{message}.{when}.".encode() + body, hashlib.sha256).digest()
    right = "v1," + base64.b64encode(signed).decode()
    return any(hmac.compare_digest(given, right) for given in headers.get("webhook-signature", "").split(" "))


class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not is_right(self.headers, body):
            return self.answer(401)
        message = self.headers["webhook-id"]
        for old in [m for m, at in seen.items() if at < time.time() - KEPT]:
            del seen[old]
        # What comes a second time was taken, though the answer got lost.
        if message not in seen:
            seen[message] = time.time()
            told = json.loads(body)
            event = told["event"]
            who = event.get("participant", {}).get("pseudonym", "")
            print(told["conference"], event["kind"], who, flush=True)
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Hook).serve_forever()
