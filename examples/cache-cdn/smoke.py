"""Starts the example on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys

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
        sys.exit(f"cache-cdn: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "cache-cdn"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
    get("/")
    page, _ = get("/")
    check("browsers are told", page.headers["Cache-Control"] == "public, max-age=10")
    check("the CDN is told", page.headers["CDN-Cache-Control"] == "max-age=600, stale-if-error=3600")
    check("what it varies by is told", page.headers["Vary"] == "accept-language")
    check("its own cache goes by its own field", re.search("shop; hit; ttl=(59|60)", status(page)))
    get("/account")
    check("what is private is not stored", status(get("/account")[0]) == "shop; fwd=uri-miss")
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
