"""Starts Redis and two servers on free ports, makes the calls of the README, freezes and kills Redis."""

import asyncio
import itertools
import pathlib
import random
import re
import secrets
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import PATIENCE, Example, Redis, allow_sockets, bar, best, check, exchange, fail, finish, until

# A thousand calls at once need as many sockets.
allow_sockets(8192)
token = secrets.token_hex(16)
names = (f"/page-{n}" for n in itertools.count())


def get(server, path):
    return server.get(path, host="pages.test")


def shared():
    """The path and the text of a page that one server has made and the other has as well, if it does."""
    path = next(names)
    made = get(one, path).text
    time.sleep(0.05)
    return get(two, path).text == made and (path, made)


def longest_without(what, down, up):
    """How long the longest of some calls takes while Redis is not there."""
    down()
    longest = 0.0
    for server, path in ((server, next(names)) for _ in range(6) for server in (one, two)):
        page = get(server, path)
        longest = max(longest, page.seconds)
        if page.status != 200 or not page.text.startswith(path[1:]):
            fail(f"{page.status} {page.text!r} while Redis is {what}")
    up()
    until(f"sharing after Redis was {what}", shared)
    return longest


def excuses():
    """How often the store was not in time, or was not asked since it had not been, at both servers."""
    outcomes = r'(?m)^bartizan_cache_store_total\S*outcome="(?:late|skipped|unavailable)"\S* (\d+)'
    return sum(int(count) for server in (one, two) for count in re.findall(outcomes, get(server, "/admin/metrics").text))


def measured(attempt):
    """The result of an attempt, and how often the store was late in it. Where it is, which is the machine's doing, a
    process does not wait for it and asks the service itself: that says nothing about leases."""
    before = excuses()
    result = asyncio.run(asyncio.wait_for(attempt, 2 * PATIENCE))
    return result, excuses() - before


async def connect(*servers):
    return [await asyncio.open_connection("127.0.0.1", server.port) for server in servers]


async def texts(connections, path):
    """The texts of the answers to as many calls at once."""
    answers = await asyncio.gather(*(exchange(each, path, host="pages.test") for each in connections))
    for _, writer in connections:
        writer.close()
    return [text for _, text in answers]


async def thousand():
    """A thousand calls for one page, half to each server, over connections that are there already."""
    return await texts(await connect(*[one, two] * 500), next(names))


async def leader_goes():
    """Whether those who wait at both servers get one page, though whoever asked first goes away."""
    path = next(names)
    leader, *others = await connect(one, two, one, two)
    first = asyncio.create_task(texts([leader], path))
    await asyncio.sleep(0.005)
    rest = asyncio.create_task(texts(others, path))
    await asyncio.wait([first], timeout=random.uniform(0.01, 0.25))
    leader[1].close()
    await asyncio.wait([first])
    first.exception()
    return len(set(await rest)) == 1


async def leaders_go(rounds):
    """In how many of so many rounds at once those who wait get one page."""
    return sum(await asyncio.gather(*(leader_goes() for _ in range(rounds))))


def thousand_rounds():
    """In how many of a thousand rounds those who wait get one page, how often the store was late in them, and whether
    all was well in those in which it was not. Rounds in which it was late are made anew, for a minute: fewer at once."""
    held, late, done, well, at_once, deadline = 0, 0, 0, True, 50, time.monotonic() + 60
    while done < 1000:
        rounds = min(at_once, 1000 - done)
        went_well, was_late = measured(leaders_go(rounds))
        if was_late and time.monotonic() < deadline:
            at_once = max(10, at_once // 2)
            until("sharing again", shared)
            continue
        held, late, done = held + went_well, late + was_late, done + rounds
        well = well and (went_well == rounds or was_late > 0)
    return held, late, well


with Redis() as redis, \
        Example("cache-two-nodes", PURGE_TOKEN=token, REDIS=redis.url) as one, \
        Example("cache-two-nodes", PURGE_TOKEN=token, REDIS=redis.url) as two:
    path, made = until("sharing", shared)
    check("what one server made, the other serves", True)
    check("from memory, too", get(two, path).headers["Cache-Status"].startswith("pages; hit"))

    purge = two.call("POST", "/admin/purge", '{"tag": "pages"}', Authorization=f"Bearer {token}")
    check("a purge at one", purge.status == 204)
    until("the purge at the other", lambda: get(one, path).text != made)
    check("holds for the other", get(two, path).text != made)

    for _ in range(10):
        answers, late = measured(thousand())
        if late == 0:
            break
        until("sharing again", shared)
    fetches = len(set(answers))
    print(f"{fetches} fetches for 1000 calls at once, the store late {late} times")
    check("a thousand calls at once, to both, are answered", len(answers) == 1000)
    check("by one page for each process at most", fetches <= 2)
    bar("cache-fetches-for-1000-misses-at-two-processes", fetches, 1, fetches == 1)
    check("by one page, unless the store is late", fetches == 1 or late > 0)

    held, late, well = thousand_rounds()
    print(f"{held} of 1000 rounds with one page, the store late {late} times")
    bar("cache-leaders-cancelled-at-two-processes", held, 1000, held == 1000)
    check("whoever goes away leaves one page to the rest, unless the store is late", well)

    for what, down, up in (("frozen", redis.freeze, redis.thaw), ("dead", redis.stop, redis.start)):
        # 200 ms for the page, 50 ms for the store; the rest is the machine's.
        longest = best(lambda: longest_without(what, down, up), 0.6)
        check(f"while Redis is {what}, pages are made and answered", True)
        bar(f"cache-longest-answer-while-redis-is-{what}-seconds", f"{longest:.2f}", "0.60", longest < 0.6)
        check(f"and come in {longest:.2f} s at most", longest < 0.6)
    check("once Redis is back they share again, without a restart", True)
finish()
