"""Starts the server on a free port and makes the calls of its README."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish

ANN, BOB = "demo_ann_2f8a61c4b7d90e35aa14", "demo_bob_91c0d7b25e4f8a63bb70"


def tokens(response):
    items = response.headers.get_all("RateLimit")
    return int(next(re.search(r"r=(\d+)", item)[1] for item in items if "tokens" in item))


with Example("limit-by-tokens") as server:
    def complete(prompt, key=ANN):
        return server.call("POST", "/complete", prompt, x_api_key=key)

    first = complete("three short words")
    check("the answer is the prompt's words", first.text == "three\nshort\nwords\n")
    check("an estimate was reserved", tokens(first) == 1000 - 204)
    second = complete("three short words")
    # A few come back while the calls are made.
    check("three were spent in the end", 1000 - 3 - 204 <= tokens(second) <= 1000 - 204)
    long = complete("word " * 400)
    check("a long answer is settled too", long.status == 200 and long.text.count("\n") == 400)
    # After one of them on a machine that is not asleep: what each costs takes 24 seconds to come back.
    refused = next((answer for _ in range(5) if (answer := complete("word " * 400)).status != 200), None)
    check("then the budget is spent", refused and refused.status == 429 and int(refused.headers["Retry-After"]) >= 1)
    never = complete("x" * 4000)
    check("a prompt beyond the budget is refused for good",
          never.status == 403 and "Retry-After" not in never.headers)
    check("another caller has its own", complete("hello", BOB).status == 200)
    check("and who makes up a key has none", complete("hello", "made-up").status == 401)
finish()
