"""Starts the example on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys
import time

passed = 0


def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def get(path, **headers):
    return call("GET", path, **headers)


def status(response):
    return response.headers["Cache-Status"]


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"cache-micro: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "cache-micro"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
    check("the first waits", get("/")[1] == "rendered 1 times\n")
    check("the second does not", status(get("/")[0]).startswith("micro; hit; ttl=0"))
    time.sleep(1.2)
    start = time.monotonic()
    stale, text = get("/")
    check("a stale one is served at once", text == "rendered 1 times\n" and time.monotonic() - start < 0.2)
    time.sleep(0.5)
    check("and was rendered anew meanwhile", get("/")[1] == "rendered 2 times\n")
    call("POST", "/break")
    time.sleep(1.6)
    check("a stale one stands in", get("/")[0].status == 200)
    time.sleep(0.5)
    check("while the page is out of order", get("/")[1] == "rendered 2 times\n")
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
