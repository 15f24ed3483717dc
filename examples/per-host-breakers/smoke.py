"""Starts the fetcher beside one host that is well and one that is gone, and makes the calls of its README."""

import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, Origin, check, finish, nobody, until


class Well(Origin):
    def do_GET(self):
        self.answer(200, "well\n")


well, gone = f"/?{Well.serve()}", f"/?{nobody()}"
with Example("per-host-breakers") as fetcher:
    def refusal():
        """A call that is none of the probes, which come every two seconds at first."""
        return until("a refusal", lambda: (answer := fetcher.get(gone)).status == 503 and answer)

    check("a host that is well is fetched from", fetcher.get(well).text == "well\n")
    check("one that is gone is a 502", [fetcher.get(gone).status for _ in range(5)] == [502] * 5)
    refused = refusal()
    check("and then refused at once", refused)
    check("with when to come back", 1 <= int(refused.headers["Retry-After"]) <= 60)
    check("by problem details", json.loads(refused.text)["code"] == "circuit-open")
    check("the other host is not cut off", fetcher.get(well).status == 200)

    def figure(what):
        return int(re.search(rf"bartizan_circuit_breaker_{what}\S* (\d+)\n", fetcher.get("/metrics").text)[1])

    check("the table holds both", figure("keys") == 2)
    check("of which one is open", until("one that is open", lambda: refusal() and figure("open_keys") == 1))
    fetcher.get(well.replace("//", "//somebody@"))
    check("a user before the host is no other key", figure("keys") == 2)
    check("a host that is not listed is refused", fetcher.get("/?http://localhost:1/").status == 403)
    check("what is no URL is refused", fetcher.get("/?nonsense").status == 400)
finish()
