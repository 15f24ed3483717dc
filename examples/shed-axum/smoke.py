"""Puts the service under three times the load that it can take, with and without the layer, and holds what
its README says against what comes: `smoke.py [SECONDS]`, 4 by default."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 4
WORKERS, SERVICE = 4, 0.020
CAPACITY = WORKERS / SERVICE
LOAD = 3
DEADLINE = 0.25
passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"shed-axum: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def get(port, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def storm(port):
    """Calls at a steady pace, whatever becomes of the earlier ones; returns status and time of each."""
    answers = []

    def call():
        start = time.monotonic()
        response, _ = get(port)
        answers.append((start, response.status, time.monotonic() - start))

    threads, start = [], time.monotonic()
    for number in range(int(SECONDS * CAPACITY * LOAD)):
        due = start + number / (CAPACITY * LOAD)
        time.sleep(max(0, due - time.monotonic()))
        threads.append(threading.Thread(target=call))
        threads[-1].start()
    probe, _ = get(port, "/livez")
    for thread in threads:
        thread.join()
    # The first second is for learning.
    return [answer for answer in answers if answer[0] > start + 1], probe.status


def run(shed):
    server = subprocess.Popen(
        ["cargo", "run", "--quiet", "--locked", "-p", "shed-axum"],
        env={**os.environ, "PORT": "0", "SHED": shed}, stdout=subprocess.PIPE, text=True,
    )
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    try:
        check(f"one call is served (shed {shed})", get(port)[0].status == 200)
        answers, probe = storm(port)
        check(f"the probe is answered in the storm (shed {shed})", probe == 200)
        served = [time for _, status, time in answers if status == 200]
        good = sum(time <= DEADLINE for time in served)
        refused = [answer for answer in answers if answer[1] == 503]
        share = good / (len(answers) / LOAD)
        served.sort()
        print(
            f"shed {shed}: {len(answers)} calls, {good} answered in {DEADLINE * 1e3:.0f} ms "
            f"({share:.0%} of the capacity), {len(refused)} refused, "
            f"p50 {served[len(served) // 2] * 1e3:.0f} ms, p99 {served[len(served) * 99 // 100] * 1e3:.0f} ms"
        )
        if shed == "on":
            metrics = get(port, "/metrics")[1]
            limit = float(re.search(r"(?m)^bartizan_shed_limit_exchanges\S* (\S+)", metrics)[1])
            print(f"the limit that it found: {limit:.0f}")
            check("the rest is refused at once", len(refused) > len(answers) / 3)
            check("a limit near the workers was found", 3 <= limit <= 16)
        return share
    finally:
        server.terminate()
        server.wait()


# Bounds that a busy machine keeps too.
check("most of the capacity is put to use", run("on") > 0.6)
check("without the layer hardly anything is in time", run("off") < 0.3)
print(f"{passed} passed, 0 failed")
