"""Starts the server on a free port and makes the calls of its README."""

import http.client
import json
import os
import re
import subprocess
import sys

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"limit-per-address: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def get(port, path="/", **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in fields.items()})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


def run(proxies):
    server = subprocess.Popen(
        ["cargo", "run", "--quiet", "--locked", "-p", "limit-per-address"],
        env={**os.environ, "PORT": "0", "PROXIES": proxies}, stdout=subprocess.PIPE, text=True,
    )
    return server, int(re.search(r":(\d+)$", server.stdout.readline())[1])


server, port = run("0")
try:
    first = get(port)
    check("the first is served", first.status == 200)
    policies = first.headers.get_all("RateLimit-Policy")
    check("both policies are told", policies == ['"burst";q=5;w=5', '"day";q=100;w=86400'])
    check("each with what is left",
          [item.split(";")[1] for item in first.headers.get_all("RateLimit")] == ["r=4", "r=99"])
    spoofed = [get(port, x_forwarded_for=f"203.0.113.{n}").status for n in range(4)]
    check("what a caller says of itself changes nothing", spoofed == [200] * 4)
    refused = get(port)
    check("the sixth at once is refused", refused.status == 429)
    check("and told when to come back", refused.headers["Retry-After"] == "1")
    check("by problem details", json.loads(refused.text)["violated-policies"] == ["burst"])
    check("a probe is always served", get(port, "/livez").status == 200)
finally:
    server.terminate()

server, port = run("1")
try:
    def behind(address):
        return get(port, x_forwarded_for=f"198.51.100.66, {address}").status

    check("behind a proxy, clients are told apart", [behind(f"203.0.113.{n}") for n in range(9)] == [200] * 9)
    check("and each has its quota", [behind("192.0.2.1") for _ in range(6)] == [200] * 5 + [429])
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
