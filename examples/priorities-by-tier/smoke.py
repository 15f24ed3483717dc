"""Has a free caller ask for five times what the service can do, and a paying one for half of it."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time

FREE, GOLD = "demo_free_2f8a61c4b7d90e35aa14", "demo_gold_91c0d7b25e4f8a63bb70"
passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"priorities-by-tier: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def get(key):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/", headers={"X-Api-Key": key})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


def calls(key, per_second, seconds, into):
    threads, start = [], time.monotonic()
    for number in range(int(per_second * seconds)):
        time.sleep(max(0, start + number / per_second - time.monotonic()))
        threads.append(threading.Thread(target=lambda: into.append(get(key))))
        threads[-1].start()
    for thread in threads:
        thread.join()


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "priorities-by-tier"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
try:
    check("each is served alone", [get(FREE), get(GOLD)] == [200, 200])
    free, gold = [], []
    both = [
        threading.Thread(target=calls, args=(FREE, 100, 4, free)),
        threading.Thread(target=calls, args=(GOLD, 10, 4, gold)),
    ]
    for caller in both:
        caller.start()
    for caller in both:
        caller.join()
    print(f"free: {free.count(200)} of {len(free)}; gold: {gold.count(200)} of {len(gold)}")
    check("who pays is served", gold.count(200) >= 0.9 * len(gold))
    check("who does not gets what is left", 0 < free.count(200) < 0.3 * len(free))
    check("and is told so", set(free) == {200, 503})
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
