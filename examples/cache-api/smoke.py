"""Starts the example on a free port and makes the calls of its README."""

import concurrent.futures
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, best, check, finish

with Example("cache-api") as server:
    first = server.get("/prices/7")
    check("the first is fetched", first.headers["Cache-Status"] == "api; fwd=uri-miss; stored")
    hit = server.get("/prices/7")
    check("the second is a hit", hit.headers["Cache-Status"].startswith("api; hit") and hit.text == first.text)
    check("and takes no 200 ms", best(lambda: server.get("/prices/7").seconds, 0.1) < 0.1)
    same = server.get("/prices/7", If_None_Match=hit.headers["ETag"])
    check("who has it is told so", same.status == 304 and same.text == "")
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        texts = list(threads.map(lambda _: server.get("/prices/8").text, range(20)))
    check("twenty at once are one query", len(set(texts)) == 1)
finish()
