"""Starts Redis and two servers on free ports, makes the calls of the README, and kills Redis."""

import itertools
import pathlib
import re
import secrets
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, Redis, check, finish, until

names = (f"caller-{n}" for n in itertools.count())
secret = secrets.token_hex(16)


def together():
    """The statuses of twenty calls of a caller, if the servers count them together: the one that is asked first then
    grants all ten. By themselves they grant five each. It may take a few attempts: the store is late now and then, or
    not yet there."""
    name = next(names)
    statuses = [server.get(x_api_key=name).status for server in (one, two) for _ in range(10)]
    return statuses == [200] * 10 + [429] * 10 and statuses


with Redis() as redis, \
        Example("limit-over-redis", KEY_SECRET=secret, REDIS=redis.url) as one, \
        Example("limit-over-redis", KEY_SECRET=secret, REDIS=redis.url) as two:
    statuses = until("counting together", together)
    check("ten of twenty calls to two servers are served", statuses.count(200) == 10)
    check("and the others refused", statuses.count(429) == 10)
    check("another caller has its own", two.get(x_api_key=next(names)).status == 200)
    check("and who has no key is refused", one.get().status == 400)

    redis.stop()
    # Three callers, of which one is not held up by the machine.
    callers = [[one.get(x_api_key=name) for _ in range(20)] for name in itertools.islice(names, 3)]
    served = [[answer.status for answer in answers].count(200) for answers in callers]
    check("without Redis a server grants its half", 5 in served)
    check("and answers no later than before",
          min(max(answer.seconds for answer in answers) for answers in callers) < 0.5)
    failures = re.findall(r"store_failures_total\{.*\} (\d+)", one.get("/metrics").text)
    check("which its figures tell", sum(map(int, failures)) > 0)

    redis.start()
    check("once Redis is back they count together again, without a restart", until("counting together", together))
finish()
