"""Starts the storefront on a free port and makes the calls of its README, edit included."""

import concurrent.futures
import http.client
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import PATIENCE, Example, FlagsFile, check, finish, until

flags = FlagsFile()
with Example("storefront", FLAGS=str(flags.path)) as shop:
    KEY, TOKEN = (dict([re.search(r"='(\S+): (.*)'", shop.line()).groups()]) for _ in range(2))

    def get(path):
        return shop.get(path, **KEY)

    def status(path):
        return get(path).status

    anonymous = shop.get("/products")
    check("without a credential it is a 401", anonymous.status == 401)
    challenges = anonymous.headers.get_all("WWW-Authenticate")
    check("which says how to prove who calls", any(c.startswith("Bearer ") for c in challenges))
    forged = {name: value[:-4] + "AAAA" for name, value in TOKEN.items()}
    check("a forged token is a 401", shop.get("/products", **forged).status == 401)
    check("a key without the scope is a 403", shop.call("POST", "/products", **KEY).status == 403)
    created = shop.call("POST", "/products", **TOKEN)
    check("a token with the scope is served", created.status == 201)
    check("and the handler knows who calls", json.loads(created.text)["seller"] == "ann")

    first = get("/products")
    check("a request within the quota is a 200", first.status == 200)
    # Two of twenty are used; one comes back each second.
    check("it says what is left", re.match('"by-caller";r=(18|19);', first.headers["RateLimit"]))
    check("it is stored", first.headers["Cache-Status"] == "storefront; fwd=uri-miss; stored")
    check("and a hit from then on", get("/products").headers["Cache-Status"].startswith("storefront; hit"))
    check("also for another caller, since it is public",
          shop.get("/products", **TOKEN).headers["Cache-Status"].startswith("storefront; hit"))

    # The circuit is open for five seconds. If they pass meanwhile, it closes again.
    for _ in range(2):
        failures = [status("/shipping/down") for _ in range(5)]
        if (opened := get("/shipping/swift")).status == 503:
            break
    check("a carrier that fails is a 502", failures == [502] * 5)
    check("and then an open circuit, for all carriers", opened.status == 503)
    check("which says so", json.loads(opened.text)["code"] == "circuit-open")
    check("and when to come back", int(opened.headers["Retry-After"]) >= 1)

    def three_reports():
        """The statuses of three calls at once, each of which takes two seconds."""
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            return sorted(threads.map(status, ["/report"] * 3))

    # They are not at once if one has to wait for two seconds for the machine.
    check("of three reports at once, one is shed", any(three_reports() == [200, 200, 503] for _ in range(3)))

    def stream():
        connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)
        connection.request("GET", "/events", headers=TOKEN)
        return connection, connection.getresponse().readline()

    streams = [stream() for _ in range(12)]
    check("events arrive as they happen", {line for _, line in streams} == {b"event: sale\n"})
    check("and take no slot from others", status("/products") != 503)
    for connection, _ in streams:
        connection.close()

    last = until("a refusal", lambda: (answer := get("/products")).status == 429 and answer, every=0)
    check("one beyond the quota is a 429", last.status == 429)
    check("it says when to come back", int(last.headers["Retry-After"]) >= 1)
    check("it is a problem document", json.loads(last.text)["code"] == "quota-exceeded")
    check("a probe is served to anyone", shop.get("/livez").status == 200)

    flags.set(limiter_mode="off")
    # One comes back each second in any case, and the limit by address stays.
    is_off = until("the edit", lambda: all(status("/products") == 200 for _ in range(20)), every=0.2)
    check("an edit of the flags file turns the limiter off", is_off)
    flags.write("{ broken")
    until("a warning", lambda: "the last good one stays" in shop.log())
    check("a broken file keeps the last good flags", status("/products") == 200)
    check("and warns", "WARN" in shop.log())
    refused = 'bartizan_flags_reloads_total{name="flags",mode="enforce",outcome="refused"} '
    check("the metrics tell of it", re.search(re.escape(refused) + r"[1-9]", get("/metrics").text))
finish()
