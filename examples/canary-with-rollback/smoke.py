"""Starts two releases and the proxy on free ports, lets the new release fail, and sees it go."""

import http.client
import http.server
import os
import re
import subprocess
import sys
import threading
import time

passed = 0


def check(what, holds):
    global passed
    if not holds:
        print(f"failed: {what}")
        sys.exit(1)
    passed += 1


class Release(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        failed = self.server.fails and self.server.asked % self.server.fails == 0
        body = (self.server.text + "\n").encode()
        self.send_response(500 if failed else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        told = f"{self.command} {self.path} {self.headers['x-order']} {body.decode()}".encode()
        self.send_response(201)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *_):
        pass


def release(text):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Release)
    server.text, server.asked, server.fails = text, 0, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def get(path="/", cookie=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text, response.getheader("set-cookie")


stable, canary = release("stable"), release("canary")
proxy = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "canary-with-rollback"],
    env={**os.environ, "PORT": "0",
         "STABLE": f"http://127.0.0.1:{stable.server_address[1]}/",
         "CANARY": f"http://127.0.0.1:{canary.server_address[1]}/"},
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
)
port = int(re.search(r":(\d+)$", proxy.stdout.readline())[1])
try:
    first = [get() for _ in range(60)]
    share = sum(text == "canary\n" for _, text, _ in first)
    check("about half of the visitors see the canary", 15 <= share <= 45)
    again = [get(cookie=cookie.split(";")[0]) for _, _, cookie in first]
    check("and each sees the same again", [text for _, text, _ in again] == [text for _, text, _ in first])
    check("without another cookie", all(cookie is None for _, _, cookie in again))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/orders?draft=1", body="two pies", headers={"x-order": "7"})
    response = connection.getresponse()
    check("method, path, fields and body arrive as they are",
          (response.status, response.read()) == (201, b"POST /orders?draft=1 7 two pies"))
    connection.close()
    check("nothing is rolled back", re.search(r"split_rolled_back\S* 0\n", get("/metrics")[1]))

    canary.fails = 5
    begin, failures = time.monotonic(), 0
    for _ in range(1000):
        failures += get()[0] == 500
        if re.search(r"split_rolled_back\S* 1\n", get("/metrics")[1]):
            break
    took = time.monotonic() - begin
    # It may also never have been, in so many requests.
    back = re.search(r"split_rolled_back\S* 1\n", get("/metrics")[1]) is not None
    print(f"bar: rolled_back_after_seconds {took:.2f} 30 {'ok' if back and took <= 30 else 'short'}")
    check("a canary that fails 20 % is rolled back within the window", back and took <= 30)
    check("everyone is on stable", all(get()[:2] == (200, "stable\n") for _ in range(40)))
    check("and nearly nobody has noticed", failures < 20)
finally:
    proxy.terminate()
print(f"{passed} passed, 0 failed")
