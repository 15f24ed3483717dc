"""Starts the server on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys

READER, CLERK = "demo_reader_5c1f0a7be2d94836", "demo_clerk_e8b3d2904a6f7c15"
passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"scopes-per-route: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def call(method, path, key=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={"x-api-key": key} if key else {})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "scopes-per-route"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    inventory = ""
    while not (match := re.search(r"^listens on .*:(\d+)$", line := server.stdout.readline())):
        inventory += line
    port = int(match[1])
    check("the inventory names routes and scopes", "/orders/{id}/refund" in inventory and "orders:refund" in inventory)
    check("what is public is public", call("GET", "/livez").status == 200)
    check("an order wants a caller", call("GET", "/orders/7").status == 401)
    check("who may read", call("GET", "/orders/7", READER).text == "an order\n")
    check("who may not refund is forbidden", call("POST", "/orders/7/refund", READER).status == 403)
    check("who may", call("POST", "/orders/7/refund", CLERK).text == "refunded\n")
    check("what is not listed is forbidden", call("GET", "/forgotten", CLERK).status == 403)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
