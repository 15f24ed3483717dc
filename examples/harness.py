"""What the examples' smoke scripts share: programs on free ports, calls to them, and checks that are counted.

A script imports it from the folder above its own. It ends with `finish()`, or with the first check that does not hold,
which also shows what the programs that were running then have printed to stderr. Nothing here, or in the scripts, counts
on the machine being fast: what takes time is waited for by `until`, and what must be quick may be so at the best of a
few attempts.
"""

import asyncio
import http.client
import http.server
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Seconds after which something that should have happened will not happen any more.
PATIENCE = 60
# The folder of the example that is tried.
HERE = pathlib.Path(sys.argv[0]).resolve().parent
passed = 0

# So that whoever is told to end also ends what it has started.
signal.signal(signal.SIGTERM, lambda *_: fail("was told to end"))


# ---- checks

def check(what, holds):
    """Counts what holds, and ends the script at what does not."""
    global passed
    if not holds:
        fail(f"{what} does not hold")
    passed += 1
    print(f"ok: {what}", flush=True)


def fail(message):
    sys.exit(f"{HERE.name}: {message}")


def finish():
    print(f"{passed} passed, 0 failed")


def bar(name, value, limit, holds):
    """Prints a measured value beside its limit."""
    print(f"bar: {name} {value} {limit} {'ok' if holds else 'short'}", flush=True)


def until(what, holds, every=0.05):
    """Asks again and again, and returns the first answer that holds."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := holds()):
        if time.monotonic() > deadline:
            fail(f"{what} did not come about")
        time.sleep(every)
    return answer


def best(measure, enough, attempts=10):
    """The least of a few measurements, of which a machine that stands still for a moment may spoil any. The first
    below `enough` is the last."""
    least = measure()
    for _ in range(attempts - 1):
        if least < enough:
            break
        least = min(least, measure())
    return least


# ---- programs

class Program:
    """A command that runs within a `with`, and is ended and waited for at its end."""

    def __init__(self, *words, **environment):
        self.words, self.environment, self.process = words, {**os.environ, **environment}, None
        self.folder = tempfile.TemporaryDirectory()
        self.errors = pathlib.Path(self.folder.name) / "stderr"

    def start(self):
        with self.errors.open("a") as errors:
            self.process = subprocess.Popen(
                self.words, env=self.environment, stdout=subprocess.PIPE, stderr=errors, text=True)

    def stop(self):
        # In a way that one which is frozen does not put off.
        if self.process:
            self.process.kill()
            self.process.communicate()

    def log(self):
        """What it has printed to stderr so far."""
        return self.errors.read_text(errors="replace")

    def __enter__(self):
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, failure, *_):
        self.stop()
        if failure and (log := self.log()):
            last = "\n".join(log.splitlines()[-100:])
            print(f"-- stderr of {' '.join(self.words)}", last, sep="\n", file=sys.stderr)
        self.folder.cleanup()


class Example(Program):
    """An example of this workspace, on a port that the system picks. `said` is what it has printed up to the line that
    tells the port."""

    def __init__(self, name, *arguments, **environment):
        run = ["cargo", "run", "--quiet", "--locked", "-p", name, "--", *arguments]
        super().__init__(*run, **{"PORT": "0", **environment})

    def start(self):
        super().start()
        self.said, port = [], None
        while not port:
            self.said.append(self.line())
            port = re.search(r"listen\w* on \S*:(\d+)", self.said[-1])
        self.port = int(port[1])

    def line(self):
        """The next line that it prints."""
        return self.process.stdout.readline() or fail("the server ends before it listens")

    def call(self, method, path, body=None, **fields):
        return call(self.port, method, path, body, **fields)

    def get(self, path="/", **fields):
        return call(self.port, "GET", path, **fields)


class Redis(Program):
    """A Redis server of the script's own, which keeps nothing and comes back at the same port."""

    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        super().__init__("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                         "--appendonly", "no", "--loglevel", "warning")

    def start(self):
        super().start()
        until("Redis", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            fail("Redis ends before it answers")
        try:
            return self.command("PING") == "+PONG\r\n"
        except OSError:
            return False

    def command(self, *words):
        """Says a command as the server's protocol has it. Returns the first of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            message = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            connection.sendall(message.encode())
            return connection.recv(4096).decode()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


def free_port():
    """A port for a server that cannot say which one the system has picked. It is below those that the system gives to
    whoever asks for any, so that nobody else comes by it between this and the server's start, or while that is down."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# ---- calls

def call(port, method, path, body=None, **fields):
    """One call over a connection of its own; `x_api_key` is the field `x-api-key`. Returns the response, with its
    `text` and the `seconds` that it took."""
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        response.text = response.read().decode()
        response.seconds = time.monotonic() - begin
        return response
    finally:
        connection.close()


async def exchange(connection, path, **fields):
    """One GET over a connection, a pair of asyncio's streams, that is kept. Returns status and text."""
    reader, writer = connection
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in {"host": "localhost", **fields}.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    text = await reader.readexactly(int(re.search(r"\ncontent-length: (\d+)", head)[1]))
    return int(head.split(" ")[1]), text.decode()


class Caller:
    """Calls over connections that are kept: a load of its own must not be what is measured."""

    def __init__(self, port, **fields):
        self.port, self.fields, self.idle = port, fields, []

    async def get(self, path="/"):
        connection = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        try:
            answer = await exchange(connection, path, **self.fields)
        except BaseException:
            connection[1].close()
            raise
        self.idle.append(connection)
        return answer


async def storm(call, per_second, length):
    """Begins calls at a steady pace for `length` seconds, whatever becomes of the earlier ones. Returns their tasks."""
    calls, start = [], time.monotonic()
    for number in range(int(per_second * length)):
        await asyncio.sleep(max(0, start + number / per_second - time.monotonic()))
        calls.append(asyncio.create_task(call()))
    return calls


def allow_sockets(number):
    """Lets this script, and what it starts, have so many sockets at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number if most < 0 else min(most, number), most))


# ---- what stands behind an example, or beside it

class Origin(http.server.BaseHTTPRequestHandler):
    """A service behind an example. Its class has the `do_GET` that answers, and what that needs."""

    def answer(self, status, text, **fields):
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **fields}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers["Content-Length"])).decode()

    def log_message(self, *_):
        pass

    @classmethod
    def serve(cls):
        """Serves for as long as the script runs. Returns the URL."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return url(server.socket)


def nobody():
    """The URL of a server that is not there. Its port stays taken, so that none comes to be there."""
    taken.append(socket.socket())
    taken[-1].bind(("127.0.0.1", 0))
    return url(taken[-1])


taken = []


def url(server):
    return f"http://127.0.0.1:{server.getsockname()[1]}/"


class FlagsFile:
    """A copy of the example's `flags.json` for the script to edit: `path` is where it is, `text` what it says."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name) / "flags.json"
        self.document = json.loads((HERE / "flags.json").read_text())
        self.set()

    def set(self, **variants):
        """Gives flags other variants, as `export="off"`; a `_` is a `-` in a flag's name. Returns the text."""
        for flag, variant in variants.items():
            self.document["flags"][flag.replace("_", "-")]["defaultVariant"] = variant
        self.text = json.dumps(self.document)
        self.write(self.text)
        return self.text

    def write(self, text):
        # In one step, as editors do: nobody must read half a file.
        beside = self.path.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.path)
