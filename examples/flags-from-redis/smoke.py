"""Starts Redis and two servers on free ports, makes the calls of the README, and kills Redis."""

import pathlib
import re
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, FlagsFile, Redis, bar, best, check, finish, until

flags = FlagsFile()


def greetings():
    return [server.get("/greeting").text for server in (one, two)]


def greeting():
    """What the document says."""
    return flags.document["flags"]["greeting"]["defaultVariant"] + "\n"


def publish(server):
    """Publishes the document, once Redis is there to take it."""
    def taken():
        answer = server.call("PUT", "/flags", flags.text)
        return answer.status == 200 and answer.text

    return until("a document that is taken", taken)


def milliseconds_of_a_change():
    """From a change by an operator until both servers have seen it."""
    flags.set(greeting="welcome" if greeting() == "hello\n" else "hello")
    begin = time.monotonic()
    redis.command("SET", "bartizan:flags", flags.text)
    redis.command("INCR", "bartizan:flags:version")
    redis.command("PUBLISH", "bartizan:flags", "changed")
    until("the change", lambda: greetings() == [greeting()] * 2, every=0.005)
    return (time.monotonic() - begin) * 1000


with tempfile.TemporaryDirectory() as folder, Redis() as redis, \
        Example("flags-from-redis", KEEP=f"{folder}/one.json", REDIS=redis.url) as one, \
        Example("flags-from-redis", KEEP=f"{folder}/two.json", REDIS=redis.url) as two:
    check("without a document the program's defaults hold", greetings() == ["good day\n"] * 2)
    check("a broken document is refused", one.call("PUT", "/flags", "{").status == 400)
    check("a sound one is taken", re.fullmatch(r"version \d+\n", publish(one)))
    until("the first document", lambda: greetings() == ["hello\n"] * 2)

    took = best(milliseconds_of_a_change, 100)
    check("a change by an operator reaches both servers", True)
    bar("redis_change_seen_ms", f"{took:.0f}", 100, took <= 100)
    check("in time", took <= 100)

    def limited(calls):
        return [one.get("/limited").status for _ in range(calls)]

    statuses = limited(8)
    # One of them may come back meanwhile, if 12 seconds pass.
    check("the limiter enforces", statuses[:5] == [200] * 5 and 429 in statuses)
    flags.set(limiter_mode="shadow")
    publish(two)
    check("and is in shadow once the document says so", until("the shadow", lambda: limited(5) == [200] * 5))

    redis.stop()
    answers = []

    def longest():
        answers.extend(one.get("/greeting") for _ in range(50))
        return max(answer.seconds for answer in answers[-50:])

    check("without Redis the last document holds, and nobody waits",
          best(longest, 0.2) < 0.2 and all(answer.text == greeting() for answer in answers))
    check("nothing can be published meanwhile", one.call("PUT", "/flags", flags.text).status == 400)
    two.stop()
    two.start()
    check("it holds after a restart as well", two.get("/greeting").text == greeting())

    redis.start()
    before = greeting()
    flags.set(greeting="welcome" if before == "hello\n" else "hello")
    check("Redis is back, with nothing in it", publish(one))
    until("the last document", lambda: greetings() == [greeting()] * 2)
    check("both servers follow it again", True)
finish()
