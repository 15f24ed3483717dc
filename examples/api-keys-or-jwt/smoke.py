"""Starts the server on a free port and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish

with Example("api-keys-or-jwt") as server:
    key, token, ticket = (line.split()[1] for line in server.said[:3])

    def call(**fields):
        return server.get("/me", **fields)

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
finish()
