"""Starts the server on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys

FREE, GOLD = "demo_free_2f8a61c4b7d90e35aa14", "demo_gold_91c0d7b25e4f8a63bb70"
passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"limit-by-tier: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def call(method, path, key=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body=body, headers={"x-api-key": key} if key else {})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "limit-by-tier"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    check("without a key it is a 401", call("GET", "/").status == 401)
    free = call("GET", "/", FREE)
    check("the free tier has 3 a minute", free.headers["RateLimit-Policy"] == '"calls";q=3;w=60')
    gold = call("GET", "/", GOLD)
    check("the gold tier has 30", gold.headers["RateLimit-Policy"] == '"calls";q=30;w=60')
    check("free ends after three", [call("GET", "/", FREE).status for _ in range(3)] == [200, 200, 429])
    check("and gold goes on", [call("GET", "/", GOLD).status for _ in range(9)] == [200] * 9)
    wrong = call("PUT", "/admin/limits", body='{"quota": "0/min"}')
    check("a quota of nothing is refused with the fix", wrong.status == 400 and "write 1" in wrong.text)
    changed = call("PUT", "/admin/limits", body='{"quota": "6/min", "tiers": {"gold": "60/min"}}')
    check("quotas change while it runs", changed.status == 204)
    free = call("GET", "/", FREE)
    check("what was used stays used", free.status == 429)
    check("under the new quota", free.headers["RateLimit-Policy"] == '"calls";q=6;w=60')
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
