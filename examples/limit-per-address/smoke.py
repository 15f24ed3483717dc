"""Starts the server on a free port and makes the calls of its README."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish, until


def refusal(get):
    """The first refusal. If a call takes long, the second's one request a second may be served before it."""
    return until("a refusal", lambda: (answer := get()).status == 429 and answer, every=0)


with Example("limit-per-address", PROXIES="0") as server:
    first = server.get()
    check("the first is served", first.status == 200)
    policies = first.headers.get_all("RateLimit-Policy")
    check("both policies are told", policies == ['"burst";q=5;w=5', '"day";q=100;w=86400'])
    check("each with what is left",
          [item.split(";")[1] for item in first.headers.get_all("RateLimit")] == ["r=4", "r=99"])
    spoofed = [server.get(x_forwarded_for=f"203.0.113.{n}").status for n in range(4)]
    check("what a caller says of itself changes nothing", spoofed == [200] * 4)
    refused = refusal(server.get)
    check("the sixth at once is refused", refused.status == 429)
    check("and told when to come back", refused.headers["Retry-After"] == "1")
    check("by problem details", json.loads(refused.text)["violated-policies"] == ["burst"])
    check("a probe is always served", server.get("/livez").status == 200)

with Example("limit-per-address", PROXIES="1") as server:
    def behind(address):
        return server.get(x_forwarded_for=f"198.51.100.66, {address}")

    check("behind a proxy, clients are told apart", [behind(f"203.0.113.{n}").status for n in range(9)] == [200] * 9)
    check("and each has its quota", [behind("192.0.2.1").status for _ in range(5)] == [200] * 5
          and refusal(lambda: behind("192.0.2.1")))
finish()
