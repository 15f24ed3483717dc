"""Starts Redis and two servers on free ports, makes the calls of the README, and kills Redis."""

import http.client
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"limit-over-redis: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def get(port, key, path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"x-api-key": key})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def until(what, holds):
    deadline = time.monotonic() + 15
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"limit-over-redis: {what} did not come about")
        time.sleep(0.05)


def listening():
    try:
        socket.create_connection(("127.0.0.1", redis_port), timeout=1).close()
        return True
    except OSError:
        return False


def start_redis():
    process = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=tempfile.mkdtemp(), stdout=subprocess.DEVNULL,
    )
    until("Redis", listening)
    return process


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    redis_port = probe.getsockname()[1]
subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "limit-over-redis"], check=True)
redis = start_redis()
environment = {**os.environ, "PORT": "0", "KEY_SECRET": secrets.token_hex(16),
               "REDIS": f"redis://127.0.0.1:{redis_port}"}
servers = [
    subprocess.Popen(["cargo", "run", "--quiet", "--locked", "-p", "limit-over-redis"],
                     env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for _ in range(2)
]
try:
    one, two = (int(re.search(r":(\d+)$", server.stdout.readline())[1]) for server in servers)
    # The first calls may come before the connection is there.
    until("the store", lambda: all("RateLimit" in get(port, "warm-up").headers for port in (one, two)))
    until("the count in Redis", lambda: all(get(port, "shared").status for port in (one, two)))
    statuses = [get(port, "a").status for _ in range(10) for port in (one, two)]
    check("ten of twenty calls to two servers are served", statuses.count(200) == 10)
    check("and the others refused", statuses.count(429) == 10)
    check("another caller has its own", get(two, "b").status == 200)

    redis.kill()
    redis.wait()
    longest, statuses = 0.0, []
    for _ in range(20):
        start = time.monotonic()
        statuses.append(get(one, "c").status)
        longest = max(longest, time.monotonic() - start)
    check("without Redis a server grants its half", statuses.count(200) == 5)
    check("and answers no later than before", longest < 0.5)
    failures = re.findall(r"store_failures_total\{.*\} (\d+)", get(one, "c", "/metrics").text)
    check("which its figures tell", sum(map(int, failures)) > 0)

    redis = start_redis()
    def together(key=iter(range(10_000))):
        name = f"again-{next(key)}"
        return [get(port, name).status for _ in range(10) for port in (one, two)].count(200) == 10
    until("counting together again", together)
    check("once Redis is back they count together again, without a restart", True)
finally:
    for process in [*servers, redis]:
        process.terminate()
print(f"{passed} passed, 0 failed")
