"""Starts issuer and service on free ports and makes the calls of the README."""

import http.client
import os
import re
import subprocess
import sys
import time

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"jwt-from-oidc-issuer: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def call(port, method, path, token=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"content-type": "application/x-www-form-urlencoded"} if body else {}
    if token:
        headers["authorization"] = f"Bearer {token}"
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


server = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "jwt-from-oidc-issuer"],
    env={**os.environ, "PORT": "0", "ISSUER_PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
try:
    issuer = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    port = int(re.search(r":(\d+)$", server.stdout.readline())[1])
    none = call(port, "GET", "/me")
    check("without a token it is a 401 with a challenge and no error",
          none.status == 401 and none.headers["www-authenticate"] == 'Bearer realm="orders"')

    def token():
        return call(issuer, "POST", "/token", body="client_id=alice&scope=orders:read").text

    first = token()
    answer = call(port, "GET", "/me", first)
    check("a token says who calls", answer.status == 200 and answer.text == "alice\n")
    spoilt = first[:-6] + "AAAAAA"
    check("a spoilt one is a 401 with the error",
          'error="invalid_token"' in call(port, "GET", "/me", spoilt).headers["www-authenticate"])
    call(issuer, "POST", "/rotate")
    time.sleep(1.1)
    check("a token by a new key is taken without a restart", call(port, "GET", "/me", token()).status == 200)
    check("and so is one by the old key", call(port, "GET", "/me", first).status == 200)
finally:
    server.terminate()
print(f"{passed} passed, 0 failed")
