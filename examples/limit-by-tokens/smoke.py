"""Starts the server on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"limit-by-tokens: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def complete(prompt, key="a"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/complete", body=prompt, headers={"x-api-key": key})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def tokens(response):
    items = response.headers.get_all("RateLimit")
    return int(next(re.search(r"r=(\d+)", item)[1] for item in items if "tokens" in item))


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "limit-by-tokens"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    first = complete("three short words")
    check("the answer is the prompt's words", first.text == "three\nshort\nwords\n")
    check("an estimate was reserved", tokens(first) == 1000 - 204)
    second = complete("three short words")
    # A few come back while the calls are made.
    check("three were spent in the end", 1000 - 3 - 204 <= tokens(second) <= 1000 - 204)
    long = complete("word " * 400)
    check("a long answer is settled too", long.status == 200 and long.text.count("\n") == 400)
    refused = complete("word " * 400)
    check("then the budget is spent", refused.status == 429 and int(refused.headers["Retry-After"]) >= 1)
    never = complete("x" * 4000)
    check("a prompt beyond the budget is refused for good",
          never.status == 403 and "Retry-After" not in never.headers)
    check("another caller has its own", complete("hello", "b").status == 200)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
