"""Starts two releases and the proxy on free ports, lets the new release fail, and sees it go."""

import pathlib
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, Origin, bar, check, finish


class Stable(Origin):
    text = "stable\n"

    def do_GET(self):
        self.answer(200, self.text)

    def do_POST(self):
        self.answer(201, f"{self.command} {self.path} {self.headers['x-order']} {self.body()}")


class Canary(Stable):
    text = "canary\n"
    # Of so many requests one fails; none at 0.
    fails = 0
    asked = 0

    def do_GET(self):
        Canary.asked += 1
        failed = Canary.fails and Canary.asked % Canary.fails == 0
        self.answer(500 if failed else 200, self.text)


with Example("canary-with-rollback", STABLE=Stable.serve(), CANARY=Canary.serve()) as proxy:
    def is_rolled_back():
        return re.search(r"split_rolled_back\S* (\d)\n", proxy.get("/metrics").text)[1] == "1"

    first = [proxy.get() for _ in range(60)]
    share = sum(answer.text == "canary\n" for answer in first)
    # Who draws the visitors' cookies leaves this once in millions.
    check("about half of the visitors see the canary", 10 <= share <= 50)
    again = [proxy.get(cookie=answer.headers["set-cookie"].split(";")[0]) for answer in first]
    check("and each sees the same again", [answer.text for answer in again] == [answer.text for answer in first])
    check("without another cookie", all("set-cookie" not in answer.headers for answer in again))
    order = proxy.call("POST", "/orders?draft=1", "two pies", x_order="7")
    check("method, path, fields and body arrive as they are",
          (order.status, order.text) == (201, "POST /orders?draft=1 7 two pies"))
    check("nothing is rolled back", not is_rolled_back())

    Canary.fails = 5
    begin, failures, back = time.monotonic(), 0, False
    for _ in range(1000):
        failures += proxy.get().status == 500
        if back := is_rolled_back():
            break
    took = time.monotonic() - begin
    # It may also never have been, in so many requests.
    bar("rolled_back_after_seconds", f"{took:.2f}", 30, back and took <= 30)
    check("a canary that fails 20 % is rolled back within the window", back and took <= 30)
    after = [proxy.get() for _ in range(40)]
    check("everyone is on stable", all((answer.status, answer.text) == (200, "stable\n") for answer in after))
    check("and nearly nobody has noticed", failures < 20)
finish()
