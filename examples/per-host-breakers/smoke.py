"""Starts the fetcher beside one host that is well and one that is gone, and makes the calls of its README."""

import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import threading

passed = 0


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"per-host-breakers: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


class Well(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"well\n")

    def log_message(self, *_):
        pass


def get(path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    response.text = response.read().decode()
    connection.close()
    return response


well = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Well)
threading.Thread(target=well.serve_forever, daemon=True).start()
gone = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Well)
gone.server_close()
urls = [f"/?http://127.0.0.1:{server.server_address[1]}/" for server in (well, gone)]
fetcher = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "per-host-breakers"],
    env={**os.environ, "PORT": "0"}, stdout=subprocess.PIPE, text=True,
)
port = int(re.search(r":(\d+)$", fetcher.stdout.readline())[1])
try:
    check("a host that is well is fetched from", get(urls[0]).text == "well\n")
    check("one that is gone is a 502", [get(urls[1]).status for _ in range(5)] == [502] * 5)
    refused = get(urls[1])
    check("and then refused at once", refused.status == 503)
    check("with when to come back", 1 <= int(refused.headers["Retry-After"]) <= 3)
    check("by problem details", json.loads(refused.text)["code"] == "circuit-open")
    check("the other host is not cut off", get(urls[0]).status == 200)
    metrics = get("/metrics").text
    check("the table holds both", re.search(r"bartizan_circuit_breaker_keys\S* 2\n", metrics))
    check("of which one is open", re.search(r"bartizan_circuit_breaker_open_keys\S* 1\n", metrics))
    check("what is no URL is refused", get("/?nonsense").status == 400)
finally:
    fetcher.terminate()
print(f"{passed} passed, 0 failed")
