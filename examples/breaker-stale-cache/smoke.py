"""Starts the server on a free port and makes the calls of its README."""

import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish, until

with Example("breaker-stale-cache") as server:
    first = server.get("/weather")
    check("the source answers", first.status == 200 and first.text == "sunny, call 1\n")
    server.call("PUT", "/source/down")
    begin = time.monotonic()

    def stale():
        """The answer, once it is no longer fresh and the source has been asked."""
        answer = server.get("/weather")
        return answer if "fwd=stale" in answer.headers["Cache-Status"] else None

    answers = [until("a stale answer", stale) for _ in range(10)]
    took = time.monotonic() - begin
    check("then it fails, and callers get its last answer",
          all(answer.status == 200 and answer.text == "sunny, call 1\n" for answer in answers))
    statuses = [answer.headers["Cache-Status"] for answer in answers]
    check("the first two are failures that were covered",
          all("fwd-status=502" in status for status in statuses[:2]))
    # But for probes: the first comes after 1.8 seconds at the earliest, and they become fewer.
    refused = [status for status in statuses[2:] if "fwd-status=503" in status]
    check("the others are refusals of the breaker that were covered", 8 - took // 1.8 <= len(refused))
    server.call("PUT", "/source/up")
    again = until("a circuit that closes again", lambda: (text := server.get("/weather").text) != first.text and text)
    check("once it works again a probe finds out, and nobody has called the source meanwhile",
          again == f"sunny, call {1 + len(statuses) - len(refused) + 1}\n")
finish()
