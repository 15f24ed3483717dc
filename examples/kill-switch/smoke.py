"""Starts the server on a free port and makes the calls of its README, edits included."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, FlagsFile, check, finish, until

flags = FlagsFile()
with Example("kill-switch", FLAGS=str(flags.path)) as server:
    def status(path):
        return server.get(path).status

    opened = server.get("/export")
    check("the route is open", (opened.status, opened.text) == (200, "exported under version 1\n"))
    check("two requests are within the quota", status("/") == 200)
    check("and no third", status("/") == 429)
    flags.set(limiter_mode="off")
    until("the edit", lambda: status("/") == 200)
    check("the limiter is off after the edit", True)
    check("for everyone", [status("/") for _ in range(10)] == [200] * 10)
    flags.set(export="off")
    check("the route is gone after the edit", until("the edit", lambda: status("/export") == 404))
    flags.write('{"flags": ')
    deadline = time.monotonic() + 1
    seen = set()
    while time.monotonic() < deadline:
        seen.add((status("/export"), status("/")))
    check("a broken file changes nothing", seen == {(404, 200)})
    flags.set(export="on", limiter_mode="enforce")
    check("the limiter counts on where it was", until("the edit", lambda: status("/") == 429))
finish()
