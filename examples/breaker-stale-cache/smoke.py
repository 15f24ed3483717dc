"""Starts the server on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys
import time

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"breaker-stale-cache: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def call(method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "breaker-stale-cache"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    first = call("GET", "/weather")
    check("the source answers", first.status == 200 and first.text == "sunny, call 1\n")
    call("PUT", "/source/down")
    # The answer is fresh for a second.
    time.sleep(1.1)
    stale = [call("GET", "/weather") for _ in range(10)]
    check("then it fails, and callers get its last answer",
          all(answer.status == 200 and answer.text == "sunny, call 1\n" for answer in stale))
    statuses = [answer.headers["Cache-Status"] for answer in stale]
    check("the first two are failures that were covered",
          all("fwd-status=502" in status for status in statuses[:2]))
    check("the others are refusals of the breaker that were covered",
          all("fwd-status=503" in status for status in statuses[2:]))
    call("PUT", "/source/up")
    deadline = time.monotonic() + 15
    while call("GET", "/weather").text != "sunny, call 4\n":
        if time.monotonic() > deadline:
            sys.exit("breaker-stale-cache: the circuit does not close again")
        time.sleep(0.1)
    check("once it works again a probe finds out, and nobody has called the source meanwhile", True)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
