"""Starts the storefront on a free port and makes the calls of its README, edit included."""

import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

here = pathlib.Path(__file__).parent
flags = pathlib.Path(tempfile.mkdtemp()) / "flags.json"
document = json.loads((here / "flags.json").read_text())
flags.write_text(json.dumps(document))
log = tempfile.TemporaryFile("w+")
server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "storefront"],
    env={**os.environ, "PORT": "0", "FLAGS": str(flags)},
    stdout=subprocess.PIPE, stderr=log, text=True,
)
passed = 0


def call(method, path, credential):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers=dict([credential] if credential else []))
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def get(path):
    return call("GET", path, KEY)


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"storefront: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def set_mode(mode):
    document["flags"]["limiter-mode"]["defaultVariant"] = mode
    flags.write_text(json.dumps(document))


try:
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
    exports = [server.stdout.readline() for _ in range(2)]
    KEY, TOKEN = (re.search(r"='(\S+): (.*)'", line).groups() for line in exports)

    anonymous, body = call("GET", "/products", None)
    check("without a credential it is a 401", anonymous.status == 401)
    challenges = anonymous.headers.get_all("WWW-Authenticate")
    check("which says how to prove who calls", any(c.startswith("Bearer ") for c in challenges))
    forged = (TOKEN[0], TOKEN[1][:-4] + "AAAA")
    check("a forged token is a 401", call("GET", "/products", forged)[0].status == 401)
    check("a key without the scope is a 403", call("POST", "/products", KEY)[0].status == 403)
    created, body = call("POST", "/products", TOKEN)
    check("a token with the scope is served", created.status == 201)
    check("and the handler knows who calls", json.loads(body)["seller"] == "ann")

    first = get("/products")[0]
    check("a request within the quota is a 200", first.status == 200)
    check("it says what is left", first.headers["RateLimit"].startswith('"by-caller";r=18'))
    check("it is stored", first.headers["Cache-Status"] == "storefront; fwd=uri-miss; stored")
    again = get("/products")[0]
    check("and a hit from then on", again.headers["Cache-Status"].startswith("storefront; hit"))
    check("also for another caller, since it is public",
          call("GET", "/products", TOKEN)[0].headers["Cache-Status"].startswith("storefront; hit"))

    failures = [get("/shipping/down")[0].status for _ in range(5)]
    check("a carrier that fails is a 502", failures == [502] * 5)
    opened, body = get("/shipping/swift")
    check("and then an open circuit, for all carriers", opened.status == 503)
    check("which says so", json.loads(body)["code"] == "circuit-open")
    check("and when to come back", int(opened.headers["Retry-After"]) >= 1)

    statuses = []
    reports = [
        threading.Thread(target=lambda: statuses.append(get("/report")[0].status)) for _ in range(3)
    ]
    for report in reports:
        report.start()
    for report in reports:
        report.join()
    check("of three reports at once, one is shed", sorted(statuses) == [200, 200, 503])

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/events", headers=dict([KEY]))
    check("events arrive as they happen", connection.getresponse().readline() == b"event: sale\n")
    connection.close()

    answers = [get("/products") for _ in range(25)]
    last = answers[-1]
    check("one beyond the quota is a 429", last[0].status == 429)
    check("it says when to come back", int(last[0].headers["Retry-After"]) >= 1)
    check("it is a problem document", json.loads(last[1])["code"] == "quota-exceeded")
    check("a probe is served to anyone", call("GET", "/livez", None)[0].status == 200)

    set_mode("off")
    deadline = time.monotonic() + 5
    while get("/products")[0].status != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    statuses = {get("/products")[0].status for _ in range(20)}
    check("an edit of the flags file turns the limiter off", statuses == {200})
    flags.write_text("{ broken")
    time.sleep(0.5)
    check("a broken file keeps the last good flags", get("/products")[0].status == 200)
    log.seek(0)
    check("and warns", "WARN" in (text := log.read()) and "the last good one stays" in text)
    metrics = get("/metrics")[1]
    check("the metrics tell of it", 'bartizan_flags_reloads_total{name="flags",mode="enforce",outcome="refused"} 1' in metrics)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
