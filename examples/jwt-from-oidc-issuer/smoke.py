"""Starts issuer and service on free ports and makes the calls of the README."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, call, check, finish, until

with Example("jwt-from-oidc-issuer", ISSUER_PORT="0") as server:
    issuer = int(server.said[0].rsplit(":", 1)[1])

    def token():
        form = "application/x-www-form-urlencoded"
        return call(issuer, "POST", "/token", "client_id=alice&scope=orders:read", content_type=form).text

    def me(token):
        return server.get("/me", authorization=f"Bearer {token}")

    none = server.get("/me")
    check("without a token it is a 401 with a challenge and no error",
          none.status == 401 and none.headers["www-authenticate"] == 'Bearer realm="orders"')
    first = token()
    answer = me(first)
    check("a token says who calls", answer.status == 200 and answer.text == "alice\n")
    spoilt = first[:-6] + "AAAAAA"
    check("a spoilt one is a 401 with the error", 'error="invalid_token"' in me(spoilt).headers["www-authenticate"])
    call(issuer, "POST", "/rotate")
    new = token()
    # Keys are not asked for again within a second.
    check("a token by a new key is taken without a restart", until("the new key", lambda: me(new).status == 200))
    check("and so is one by the old key", me(first).status == 200)
finish()
