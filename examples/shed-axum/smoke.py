"""Puts the service under three times the load that it can take, with and without the layer, and holds what
its README says against what comes: `smoke.py [SECONDS]`, which are measured after the first ones; 5 by default."""

import asyncio
import os
import re
import resource
import subprocess
import sys
import time

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5
WORKERS, SERVICE = 4, 0.040
CAPACITY = WORKERS / SERVICE
LOAD = 3
# What comes later is of no use to its caller.
DEADLINE = 0.4
# So many seconds at the beginning are for learning, which takes some 400 calls; without the layer, for a backlog.
WARM_UP = {"on": 6, "off": 2}
passed = 0
# Without the layer hundreds wait at once, each on a connection of its own.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192) if most > 0 else 8192, most))


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"shed-axum: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


class Caller:
    """Calls over connections that are kept: a load of its own must not be what is measured."""

    def __init__(self, port):
        self.port, self.idle = port, []

    async def get(self, path="/"):
        if self.idle:
            reader, writer = self.idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            text = await reader.readexactly(int(re.search(r"\ncontent-length: (\d+)", head)[1]))
        except BaseException:
            writer.close()
            raise
        self.idle.append((reader, writer))
        return int(head.split(" ")[1]), text.decode()


async def storm(port, seconds):
    """Calls at a steady pace, whatever becomes of the earlier ones. Returns when each began, its status and how
    long it took; those that had no answer at the end have neither."""
    caller, answers, calls = Caller(port), [], []

    async def call():
        begun = time.monotonic()
        answer = [begun - start, None, None]
        answers.append(answer)
        status, _ = await caller.get()
        answer[1:] = status, time.monotonic() - begun

    start = time.monotonic()
    for number in range(int(seconds * CAPACITY * LOAD)):
        await asyncio.sleep(max(0, start + number / (CAPACITY * LOAD) - time.monotonic()))
        calls.append(asyncio.create_task(call()))
    probe = await asyncio.wait_for(caller.get("/livez"), 30)
    metrics = await asyncio.wait_for(caller.get("/metrics"), 30)
    # What is not answered by then comes too late in any case.
    _, waiting = await asyncio.wait(calls, timeout=2 * DEADLINE)
    for late in waiting:
        late.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return answers, probe[0], metrics[1]


def run(shed):
    """Returns how many answers a second came in time, and how many came at all."""
    warm_up = WARM_UP[shed]
    server = subprocess.Popen(
        ["cargo", "run", "--quiet", "--locked", "-p", "shed-axum"],
        env={**os.environ, "PORT": "0", "SHED": shed}, stdout=subprocess.PIPE, text=True,
    )
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    try:
        check(f"one call is served (shed {shed})", asyncio.run(Caller(port).get())[0] == 200)
        answers, probe, metrics = asyncio.run(storm(port, warm_up + SECONDS))
        check(f"the probe is answered in the storm (shed {shed})", probe == 200)
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
        if shed == "on":
            limit = float(re.search(r"(?m)^bartizan_shed_limit_exchanges\S* (\S+)", metrics)[1])
            print(f"  the limit that it found: {limit:.0f}")
            check("the rest is refused", len(refused) > len(counted) / 3)
            check("sooner than others are served", refused[len(refused) // 2] < served[len(served) // 2])
            check("a limit near the workers was found", WORKERS <= limit <= 5 * WORKERS)
        return rates
    finally:
        server.terminate()
        server.wait()


# What the service does with nothing in its way is what it can do, on this machine, as busy as that is now.
in_time, _ = run("on")
without, capacity = run("off")
check("without the layer hardly anything is in time", without < 0.3 * capacity)
check("with it, most of the capacity is put to use", in_time > 0.6 * capacity)
print(f"{passed} passed, 0 failed")
