"""Starts the proxy in front of a small origin and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, Origin, check, finish, nobody, until


class Upstream(Origin):
    protocol_version = "HTTP/1.1"
    served = 0

    def do_GET(self):
        Upstream.served += 1
        told = f"{self.path} for {self.headers['Host']}, secret {self.headers['X-Hop']}"
        self.answer(200, told, Cache_Control="max-age=60")

    def do_POST(self):
        self.answer(201, self.body())


def proxy(upstream, *flags):
    return Example("hyper-proxy", "--listen", "127.0.0.1:0", "--upstream", upstream.rstrip("/"), *flags)


upstream = Upstream.serve()
with proxy(upstream) as server:
    told = server.get("/a?b=c", Connection="close, X-Hop", X_Hop="told").text
    check("path, query and host arrive", told.startswith(f"/a?b=c for 127.0.0.1:{server.port}"))
    check("fields of one connection do not", told.endswith("secret None"))
    response = server.call("POST", "/", "x" * 100_000)
    check("bodies stream both ways", response.status == 201 and len(response.text) == 100_000)

with proxy(upstream, "--cache") as server:
    before = Upstream.served
    answers = [server.get("/cached") for _ in range(3)]
    check("with --cache the upstream is asked once", Upstream.served == before + 1)
    check("a hit says so", answers[-1].headers["Cache-Status"].startswith("proxy; hit"))
    check("and how old it is", int(answers[-1].headers["Age"]) >= 0)

with proxy(nobody()) as server:
    check("an upstream that is gone is a 502", server.get().status == 502)
    refused = until("a refusal", lambda: (answer := server.get()).status == 503 and answer, every=0)
    check("and then an open circuit", refused)
    check("which says when to come back", int(refused.headers["Retry-After"]) >= 1)
finish()
