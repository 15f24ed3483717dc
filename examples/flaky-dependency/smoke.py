"""Starts the shop in front of a service that fails and recovers, and makes the calls of its README."""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, Origin, check, finish, until


class Prices(Origin):
    fails = False
    asked = 0

    def do_GET(self):
        Prices.asked += 1
        self.answer(500 if Prices.fails else 200, "7.50\n")


with Example("flaky-dependency", PRICES=Prices.serve()) as shop:
    def prices(calls):
        answers = [shop.get() for _ in range(calls)]
        return [(answer.status, answer.text) for answer in answers]

    def state():
        return re.search(r"bartizan_circuit_breaker_state\S* (\d)\n", shop.get("/metrics").text)[1]

    def is_left_alone():
        """Whether no call reaches the service, as is so between one probe and the next."""
        asked = Prices.asked
        return [status for status, _ in prices(20)] == [200] * 20 and Prices.asked == asked

    check("a price is passed on", until("a price", lambda: prices(1) == [(200, "7.50\n")]))
    Prices.fails = True
    check("failures are passed on at first", prices(1)[0][0] == 500)
    told = until("an open circuit", lambda: (answer := shop.get()).status == 200 and answer.text)
    check("then yesterday's price is told", told.startswith("9.99, as of yesterday"))
    check("the gauge says open", until("the gauge", lambda: shop.get() and state() == "2"))
    check("the service is left alone", until("a time between probes", is_left_alone))
    Prices.fails = False
    check("a recovered service is back", until("the service", lambda: prices(10) == [(200, "7.50\n")] * 10))
    check("and the gauge says closed", until("the gauge", lambda: state() == "0"))
finish()
