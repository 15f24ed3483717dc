"""Starts the example on a free port and makes the calls of its README."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish

with Example("cache-cdn") as server:
    server.get("/")
    page = server.get("/")
    check("browsers are told", page.headers["Cache-Control"] == "public, max-age=10")
    check("the CDN is told", page.headers["CDN-Cache-Control"] == "max-age=600, stale-if-error=3600")
    check("what it varies by is told", page.headers["Vary"] == "accept-language")
    hit = re.fullmatch(r"shop; hit; ttl=(\d+)", page.headers["Cache-Status"])
    check("its own cache goes by its own field", hit and 10 < int(hit[1]) <= 60)
    server.get("/account")
    check("what is private is not stored", server.get("/account").headers["Cache-Status"] == "shop; fwd=uri-miss")
finish()
