"""Has a free caller ask for five times what the service can do, and a paying one for half of it."""

import asyncio
import os
import re
import subprocess
import sys
import time

FREE, GOLD = "demo_free_2f8a61c4b7d90e35aa14", "demo_gold_91c0d7b25e4f8a63bb70"
SECONDS = 5
passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"priorities-by-tier: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


class Caller:
    """Calls over connections that are kept: a load of its own must not be what is measured."""

    def __init__(self, key):
        self.key, self.idle = key, []

    async def get(self):
        """The status."""
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nhost: localhost\r\nx-api-key: {self.key}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(re.search(r"\ncontent-length: (\d+)", head)[1]))
        self.idle.append((reader, writer))
        return int(head.split(" ")[1])

    async def storm(self, per_second):
        """Calls at a steady pace, whatever becomes of the earlier ones. Returns the statuses."""
        calls, start = [], time.monotonic()
        for number in range(int(per_second * SECONDS)):
            await asyncio.sleep(max(0, start + number / per_second - time.monotonic()))
            calls.append(asyncio.create_task(self.get()))
        return await asyncio.wait_for(asyncio.gather(*calls), 60)


async def alone():
    return [await Caller(FREE).get(), await Caller(GOLD).get()]


async def together():
    return await asyncio.gather(Caller(FREE).storm(100), Caller(GOLD).storm(10))


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "priorities-by-tier"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
try:
    check("each is served alone", asyncio.run(alone()) == [200, 200])
    free, gold = asyncio.run(together())
    print(f"free: {free.count(200)} of {len(free)}; gold: {gold.count(200)} of {len(gold)}")
    check("who pays is served", gold.count(200) >= 0.9 * len(gold))
    check("who does not gets what is left", 0 < free.count(200) < 0.3 * len(free))
    check("and is told so", set(free) == {200, 503})
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
