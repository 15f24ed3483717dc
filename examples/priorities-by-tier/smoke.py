"""Has a free caller ask for five times what the service can do, and a paying one for half of it."""

import asyncio
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import PATIENCE, Caller, Example, check, finish, storm

FREE, GOLD = "demo_free_2f8a61c4b7d90e35aa14", "demo_gold_91c0d7b25e4f8a63bb70"
SECONDS = 5


async def statuses(key, per_second):
    """What a caller is answered in a storm of its calls."""
    caller = Caller(server.port, x_api_key=key)
    calls = await storm(caller.get, per_second, SECONDS)
    return [status for status, _ in await asyncio.wait_for(asyncio.gather(*calls), 2 * PATIENCE)]


async def together():
    return await asyncio.gather(statuses(FREE, 100), statuses(GOLD, 10))


with Example("priorities-by-tier") as server:
    check("each is served alone", [server.get(x_api_key=key).status for key in (FREE, GOLD)] == [200, 200])
    # A machine that stands still for half a second lets calls wait for longer than they may.
    for _ in range(3):
        free, gold = asyncio.run(together())
        print(f"free: {free.count(200)} of {len(free)}; gold: {gold.count(200)} of {len(gold)}")
        holds = {
            "who pays is served": gold.count(200) >= 0.9 * len(gold),
            "who does not gets what is left": 0 < free.count(200) < 0.3 * len(free),
            "and is told so": set(free) == {200, 503},
        }
        if all(holds.values()):
            break
    for what, held in holds.items():
        check(what, held)
finish()
