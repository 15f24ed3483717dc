"""Starts the server on a free port and makes the calls of its README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish

READER, CLERK = "demo_reader_5c1f0a7be2d94836", "demo_clerk_e8b3d2904a6f7c15"

with Example("scopes-per-route") as server:
    def call(method, path, key):
        return server.call(method, path, x_api_key=key)

    inventory = "".join(server.said)
    check("the inventory names routes and scopes", "/orders/{id}/refund" in inventory and "orders:refund" in inventory)
    check("what is public is public", server.get("/livez").status == 200)
    check("an order wants a caller", server.get("/orders/7").status == 401)
    check("who may read", call("GET", "/orders/7", READER).text == "an order\n")
    check("who may not refund is forbidden", call("POST", "/orders/7/refund", READER).status == 403)
    check("who may", call("POST", "/orders/7/refund", CLERK).text == "refunded\n")
    check("what is not listed is forbidden", call("GET", "/forgotten", CLERK).status == 403)
finish()
