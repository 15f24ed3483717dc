"""Starts the example on a free port and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, best, check, finish, until


def aged(seconds):
    """The page, once it comes from the store and is as old as that: from one second on it is stale."""
    return until(f"a page of {seconds} s", lambda: int((page := server.get()).headers["Age"] or 0) >= seconds and page)


with Example("cache-micro") as server:
    check("the first waits", server.get().text == "rendered 1 times\n")
    check("the second does not", server.get().headers["Cache-Status"].startswith("micro; hit; ttl="))
    check("a stale one is served at once", best(lambda: aged(1).seconds, 0.2) < 0.2)
    stale = aged(1).text
    check("and was rendered anew meanwhile", until("a new page", lambda: server.get().text != stale))
    server.call("POST", "/break")
    # So old only since it cannot be rendered anew.
    old = aged(4)
    check("a stale one stands in", old.status == 200)
    check("while the page is out of order", server.get().text == old.text)
finish()
