"""Starts the proxy in front of a small origin and makes the calls of its README."""

import http.client
import http.server
import re
import subprocess
import sys
import threading


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = 0

    def do_GET(self):
        Origin.served += 1
        body = f"{self.path} for {self.headers['Host']}, secret {self.headers['X-Hop']}".encode()
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start(upstream, *flags):
    proxy = subprocess.Popen(
        ["cargo", "run", "--quiet", "--locked", "-p", "hyper-proxy", "--",
         "--listen", "127.0.0.1:0", "--upstream", upstream, *flags],
        stdout=subprocess.PIPE, text=True,
    )
    return proxy, int(re.search(r":(\d+)$", proxy.stdout.readline().strip())[1])


def call(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"hyper-proxy: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


passed = 0
origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
threading.Thread(target=origin.serve_forever, daemon=True).start()
proxy, port = start(f"http://127.0.0.1:{origin.server_address[1]}")
try:
    hop = {"Connection": "close, X-Hop", "X-Hop": "told"}
    response, text = call(port, "GET", "/a?b=c", headers=hop)
    check("path, query and host arrive", text.startswith(f"/a?b=c for 127.0.0.1:{port}"))
    check("fields of one connection do not", text.endswith("secret None"))
    response, text = call(port, "POST", "/", body="x" * 100_000)
    check("bodies stream both ways", response.status == 201 and len(text) == 100_000)
finally:
    proxy.terminate()

proxy, port = start(f"http://127.0.0.1:{origin.server_address[1]}", "--cache")
try:
    before = Origin.served
    answers = [call(port, "GET", "/cached") for _ in range(3)]
    check("with --cache the upstream is asked once", Origin.served == before + 1)
    check("a hit says so", answers[-1][0].headers["Cache-Status"].startswith("proxy; hit"))
    check("and how old it is", int(answers[-1][0].headers["Age"]) >= 0)
finally:
    proxy.terminate()

gone = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
gone.server_close()
proxy, port = start(f"http://127.0.0.1:{gone.server_address[1]}")
try:
    statuses = [call(port, "GET", "/")[0].status for _ in range(300)]
    check("an upstream that is gone is a 502", statuses[0] == 502)
    check("and then an open circuit", statuses[-1] == 503)
    response, _ = call(port, "GET", "/")
    check("which says when to come back", int(response.headers["Retry-After"]) >= 1)
finally:
    proxy.terminate()
print(f"{passed} passed, 0 failed")
