"""Starts the example on a free port and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish, until

with Example("cache-tags", PURGE_TOKEN="change-me-change-me") as server:
    def purge(document, token="change-me-change-me"):
        return server.call("POST", "/admin/purge", document, Authorization=f"Bearer {token}").status

    def number(path):
        return int(server.get(path).text.split()[-1])

    ada, bob = number("/ada/notes"), number("/bob/notes")
    check("pages are stored", (number("/ada/notes"), number("/bob/notes")) == (ada, bob))
    check("a purge takes the token", purge('{"all": true}', "wrong-wrong-wrong") == 401)
    check("a purge by tag", purge('{"tag": "author-ada"}') == 204)
    check("reaches what carries it", number("/ada/notes") > bob)
    check("and nothing else", number("/bob/notes") == bob)
    check("a soft purge", purge('{"tag": "author-bob", "soft": true}') == 204)
    check("serves once more", number("/bob/notes") == bob)
    check("while it is made anew", until("a new page", lambda: number("/bob/notes") > bob))
    before = number("/ada/notes")
    server.call("POST", "/comments")
    check("a comment invalidates its group", number("/ada/notes") > before)
    before = number("/ada/notes")
    check("a purge by prefix", purge(f'{{"prefix": "http://127.0.0.1:{server.port}/ada/"}}') == 204)
    check("reaches what lies under it", number("/ada/notes") > before)
finish()
