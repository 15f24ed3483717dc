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
        sys.exit(f"cache-tags: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "cache-tags"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    port = int(re.search(r":(\d+)$", server.stdout.readline().strip())[1])
    def purge(document, token="change-me-change-me"):
        return call("POST", "/admin/purge", document, Authorization=f"Bearer {token}")[0].status

    def number(path):
        return int(get(path)[1].split()[-1])

    ada, bob = number("/ada/notes"), number("/bob/notes")
    check("pages are stored", (number("/ada/notes"), number("/bob/notes")) == (ada, bob))
    check("a purge takes the token", purge('{"all": true}', "wrong-wrong-wrong") == 401)
    check("a purge by tag", purge('{"tag": "author-ada"}') == 204)
    check("reaches what carries it", number("/ada/notes") > bob)
    check("and nothing else", number("/bob/notes") == bob)
    check("a soft purge", purge('{"tag": "author-bob", "soft": true}') == 204)
    check("serves once more", number("/bob/notes") == bob)
    time.sleep(0.3)
    check("while it is made anew", number("/bob/notes") > bob)
    before = number("/ada/notes")
    call("POST", "/comments")
    check("a comment invalidates its group", number("/ada/notes") > before)
    prefix = f"http://127.0.0.1:{port}/ada/"
    before = number("/ada/notes")
    check("a purge by prefix", purge('{"prefix": "' + prefix + '"}') == 204)
    check("reaches what lies under it", number("/ada/notes") > before)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
