"""Starts the example on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys
import threading
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
        sys.exit(f"cache-api: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "cache-api"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
    first, text = get("/prices/7")
    check("the first is fetched", status(first) == "api; fwd=uri-miss; stored")
    start = time.monotonic()
    hit, again = get("/prices/7")
    check("the second is a hit", status(hit).startswith("api; hit") and again == text)
    check("and takes no 200 ms", time.monotonic() - start < 0.1)
    same, empty = get("/prices/7", If_None_Match=hit.headers["ETag"])
    check("who has it is told so", same.status == 304 and empty == "")
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(get("/prices/8")[1])) for _ in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    check("twenty at once are one query", len(texts) == 20 and len(set(texts)) == 1)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
