"""Starts the shop in front of a service that fails and recovers, and makes the calls of its README."""

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
        sys.exit(f"flaky-dependency: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


class Prices(http.server.BaseHTTPRequestHandler):
    fails = False
    asked = 0

    def do_GET(self):
        Prices.asked += 1
        body = b"7.50\n"
        self.send_response(500 if Prices.fails else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def get(path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


prices = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prices)
threading.Thread(target=prices.serve_forever, daemon=True).start()
shop = subprocess.Popen(
    ["cargo", "run", "--quiet", "--locked", "-p", "flaky-dependency"],
    env={**os.environ, "PORT": "0", "PRICES": f"http://127.0.0.1:{prices.server_address[1]}/"},
    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
)
port = int(re.search(r":(\d+)$", shop.stdout.readline())[1])
try:
    check("a price is passed on", get() == (200, "7.50\n"))
    Prices.fails = True
    failing = [get()[0] for _ in range(20)]
    check("failures are passed on at first", failing[0] == 500)
    status, text = get()
    check("then yesterday's price is told", status == 200 and text.startswith("9.99, as of yesterday"))
    check("the gauge says open", re.search(r"bartizan_circuit_breaker_state\S* 2\n", get("/metrics")[1]))
    asked = Prices.asked
    check("the service is left alone", [get()[0] for _ in range(20)] == [200] * 20 and Prices.asked == asked)
    Prices.fails = False
    # The wait is a second, or two if a probe came while the service still failed.
    end = time.monotonic() + 10
    while get()[1] != "7.50\n" and time.monotonic() < end:
        time.sleep(0.05)
    get()
    check("a recovered service is back", [get() for _ in range(10)] == [(200, "7.50\n")] * 10)
    check("and the gauge says closed", re.search(r"bartizan_circuit_breaker_state\S* 0\n", get("/metrics")[1]))
finally:
    shop.terminate()
print(f"{passed} passed, 0 failed")
