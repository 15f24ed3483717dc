"""Puts the service under three times the load that it can take, with and without the layer, and holds what
its README says against what comes: `smoke.py [SECONDS]`, which are measured after the first ones; 5 by default."""

import asyncio
import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import PATIENCE, Caller, Example, allow_sockets, check, finish, storm

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5
WORKERS, SERVICE = 4, 0.040
CAPACITY = WORKERS / SERVICE
LOAD = 3
# What comes later is of no use to its caller.
DEADLINE = 0.4
# So many seconds at the beginning are for learning, which takes some 400 calls; without the layer, for a backlog.
WARM_UP = {"on": 6, "off": 2}
# Without the layer hundreds wait at once, each on a connection of its own.
allow_sockets(8192)


async def measured(port, length):
    """Returns when each call of a storm began, its status and how long it took, of which those that had no answer at
    the end have neither; and what a probe and the metrics say in the storm."""
    caller, answers = Caller(port), []

    async def call():
        begun = time.monotonic()
        answer = [begun - start, None, None]
        answers.append(answer)
        status, _ = await caller.get()
        answer[1:] = status, time.monotonic() - begun

    start = time.monotonic()
    calls = await storm(call, CAPACITY * LOAD, length)
    probe, _ = await asyncio.wait_for(caller.get("/livez"), PATIENCE)
    _, metrics = await asyncio.wait_for(caller.get("/metrics"), PATIENCE)
    # What is not answered by then comes too late in any case.
    _, waiting = await asyncio.wait(calls, timeout=2 * DEADLINE)
    for late in waiting:
        late.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return answers, probe, metrics


def run(shed):
    """Returns what holds and what does not, how many answers a second came in time, and how many came at all."""
    warm_up = WARM_UP[shed]
    with Example("shed-axum", SHED=shed) as server:
        alone = server.get().status
        answers, probe, metrics = asyncio.run(measured(server.port, warm_up + SECONDS))
    # How long the storm was, which a slow machine may have drawn out.
    end = answers[-1][0]
    done = [time for begun, status, time in answers if status == 200 and warm_up < begun + time < end]
    counted = [answer for answer in answers if answer[0] > warm_up]
    served = sorted(time for _, status, time in counted if status == 200)
    refused = sorted(time for _, status, time in counted if status == 503)
    rates = [sum(time <= most for time in done) / (end - warm_up) for most in (DEADLINE, end)]
    print(
        f"shed {shed}: of {len(counted) / (end - warm_up):.0f} calls a second, {rates[1]:.0f} are served, "
        f"{rates[0]:.0f} of them in {DEADLINE * 1e3:.0f} ms"
    )
    for what, times in (("served", served), ("refused", refused)):
        if times:
            half, most = times[len(times) // 2], times[len(times) * 99 // 100]
            print(f"  {what} {len(times) / len(counted):.0%}: p50 {half * 1e3:.1f} ms, p99 {most * 1e3:.1f} ms")
    holds = {
        f"one call is served (shed {shed})": alone == 200,
        f"the probe is answered in the storm (shed {shed})": probe == 200,
    }
    if shed == "on":
        limit = float(re.search(r"(?m)^bartizan_shed_limit_exchanges\S* (\S+)", metrics)[1])
        print(f"  the limit that it found: {limit:.0f}")
        sooner = served and refused and refused[len(refused) // 2] < served[len(served) // 2]
        holds |= {
            "the rest is refused": len(refused) > len(counted) / 3,
            "sooner than others are served": sooner,
            "a limit near the workers was found": WORKERS <= limit <= 5 * WORKERS,
        }
    return holds, *rates


# What the service does with nothing in its way is what it can do, on this machine, as busy as that is now. It may be
# busier in the one storm than in the other, so there are three attempts.
for _ in range(3):
    holds, in_time, _ = run("on")
    others, without, capacity = run("off")
    holds |= others | {
        "without the layer hardly anything is in time": without < 0.3 * capacity,
        "with it, most of the capacity is put to use": in_time > 0.6 * capacity,
    }
    if all(holds.values()):
        break
for what, held in holds.items():
    check(what, held)
finish()
