"""Starts the server on a free port and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish, until

FREE, GOLD = "demo_free_2f8a61c4b7d90e35aa14", "demo_gold_91c0d7b25e4f8a63bb70"

with Example("limit-by-tier") as server:
    def get(key):
        return server.get(x_api_key=key)

    check("without a key it is a 401", server.get().status == 401)
    check("the free tier has 3 a minute", get(FREE).headers["RateLimit-Policy"] == '"calls";q=3;w=60')
    check("the gold tier has 30", get(GOLD).headers["RateLimit-Policy"] == '"calls";q=30;w=60')
    # One comes back every twenty seconds.
    check("free ends after three", [get(FREE).status for _ in range(2)] == [200] * 2
          and until("a refusal", lambda: get(FREE).status == 429, every=0))
    check("and gold goes on", [get(GOLD).status for _ in range(9)] == [200] * 9)
    wrong = server.call("PUT", "/admin/limits", '{"quota": "0/min"}')
    check("a quota of nothing is refused with the fix", wrong.status == 400 and "write 1" in wrong.text)
    changed = server.call("PUT", "/admin/limits", '{"quota": "6/min", "tiers": {"gold": "60/min"}}')
    check("quotas change while it runs", changed.status == 204)
    # Six are the new quota, of which one comes back every ten seconds.
    refused = next((answer for _ in range(5) if (answer := get(FREE)).status == 429), None)
    check("what was used stays used", refused)
    check("under the new quota", refused.headers["RateLimit-Policy"] == '"calls";q=6;w=60')
finish()
