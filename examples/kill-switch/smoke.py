"""Starts the server on a free port and makes the calls of its README, edits included."""

import http.client
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

file = pathlib.Path(tempfile.mkdtemp()) / "flags.json"
text = (pathlib.Path(__file__).parent / "flags.json").read_text()
file.write_text(text)
server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "kill-switch"],
    env={**os.environ, "PORT": "0", "FLAGS": str(file)},
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
)
passed = 0


def check(what, holds):
    global passed
    if not holds:
        print(f"failed: {what}")
        sys.exit(1)
    passed += 1


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def until(path, status):
    end = time.monotonic() + 5
    while get(path)[0] != status and time.monotonic() < end:
        time.sleep(0.01)
    return get(path)[0] == status


def edit(before, after):
    global text
    text = text.replace(f'"defaultVariant": "{before}"', f'"defaultVariant": "{after}"')
    file.write_text(text)


port = int(re.search(r":(\d+),", server.stdout.readline())[1])
try:
    check("the route is open", get("/export") == (200, "exported under version 1\n"))
    check("two requests are within the quota", get("/")[0] == 200)
    check("and no third", get("/")[0] == 429)
    edit("enforce", "off")
    check("the limiter is off after the edit", until("/", 200))
    check("for everyone", [get("/")[0] for _ in range(10)] == [200] * 10)
    edit("on", "off")
    check("the route is gone after the edit", until("/export", 404))
    file.write_text('{"flags": ')
    time.sleep(0.2)
    check("a broken file changes nothing", get("/export")[0] == 404 and get("/")[0] == 200)
    edit("off", "on")
    file.write_text(text.replace('"defaultVariant": "on"', '"defaultVariant": "enforce"', 2)
                    .replace('"defaultVariant": "enforce"', '"defaultVariant": "on"', 1))
    check("the limiter counts on where it was", until("/", 429))
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
