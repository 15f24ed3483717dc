"""Starts the server on a free port and makes the calls of its README."""

import http.client
import os
import re
import subprocess
import sys

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"api-keys-or-jwt: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def call(**fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/me", headers={name.replace("_", "-"): value for name, value in fields.items()})
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "api-keys-or-jwt"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    key, token, ticket = (server.stdout.readline().split()[1] for _ in range(3))
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    check("a key says who calls", call(x_api_key=key).text == "billing\n")
    check("so does a token", call(authorization=f"Bearer {token}").text == "alice\n")
    check("and a ticket", call(x_ticket=ticket).text == "batch\n")
    none = call()
    check("without any, all three are asked for",
          none.status == 401 and none.headers.get_all("www-authenticate")
          == ['ApiKey realm="demo"', 'Bearer realm="demo"', 'Ticket realm="demo"'])
    check("a mistyped key is a 401", call(x_api_key=key[:-1] + ("x" if key[-1] != "x" else "y")).status == 401)
    check("a forged ticket is a 401", call(x_ticket="root." + ticket.split(".")[1]).status == 401)
    check("two credentials are one too many", call(x_api_key=key, x_ticket=ticket).status == 400)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
