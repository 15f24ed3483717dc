"""Starts Redis and two servers on free ports, makes the calls of the README, and kills Redis."""

import http.client
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

passed = 0
text = (pathlib.Path(__file__).parent / "flags.json").read_text()
folder = pathlib.Path(tempfile.mkdtemp())


def check(what, holds):
    global passed
    if not holds:
        sys.exit(f"flags-from-redis: {what} does not hold")
    passed += 1
    print(f"ok: {what}")


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, body=body)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def greeting(port):
    return ask(port, "GET", "/greeting")[1]


def until(what, holds):
    deadline = time.monotonic() + 15
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"flags-from-redis: {what} did not come about")
        time.sleep(0.005)


def listening():
    try:
        socket.create_connection(("127.0.0.1", redis_port), timeout=1).close()
        return True
    except OSError:
        return False


def start_redis():
    process = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=folder, stdout=subprocess.DEVNULL,
    )
    until("Redis", listening)
    return process


def start(name):
    process = subprocess.Popen(
        ["cargo", "run", "--quiet", "--locked", "-p", "flags-from-redis"],
        env={**os.environ, "PORT": "0", "KEEP": str(folder / name), "REDIS": f"redis://127.0.0.1:{redis_port}"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    return process, int(re.search(r":(\d+)$", process.stdout.readline())[1])


def edited(before, after):
    global text
    text = text.replace(f'"defaultVariant": "{before}"', f'"defaultVariant": "{after}"')
    return text


def command(*words):
    """Says a command as the server's protocol has it."""
    with socket.create_connection(("127.0.0.1", redis_port), timeout=5) as connection:
        message = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        connection.sendall(message.encode())
        return connection.recv(4096).decode()


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    redis_port = probe.getsockname()[1]
subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "flags-from-redis"], check=True)
redis = start_redis()
servers = []
try:
    servers = [start("one.json"), start("two.json")]
    ports = [port for _, port in servers]
    check("without a document the program's defaults hold", [greeting(port) for port in ports] == ["good day\n"] * 2)
    check("a broken document is refused", ask(ports[0], "PUT", "/flags", "{")[0] == 400)
    check("a sound one is taken", ask(ports[0], "PUT", "/flags", text) == (200, "version 1\n"))
    until("the first document", lambda: [greeting(port) for port in ports] == ["hello\n"] * 2)

    command("SET", "bartizan:flags", edited("hello", "welcome"))
    command("INCR", "bartizan:flags:version")
    begin = time.monotonic()
    command("PUBLISH", "bartizan:flags", "changed")
    until("the change", lambda: [greeting(port) for port in ports] == ["welcome\n"] * 2)
    took = (time.monotonic() - begin) * 1000
    check("a change by an operator reaches both servers", True)
    print(f"bar: redis_change_seen_ms {took:.0f} 100 {'ok' if took <= 100 else 'short'}")
    check("in time", took <= 100)

    statuses = [ask(ports[0], "GET", "/limited")[0] for _ in range(8)]
    check("the limiter enforces", statuses == [200] * 5 + [429] * 3)
    ask(ports[1], "PUT", "/flags", edited("enforce", "shadow"))
    until("the shadow", lambda: ask(ports[0], "GET", "/limited")[0] == 200)
    check("and is in shadow once the document says so", [ask(ports[0], "GET", "/limited")[0] for _ in range(5)] == [200] * 5)

    redis.kill()
    redis.wait()
    longest = 0.0
    for _ in range(50):
        begin = time.monotonic()
        assert greeting(ports[0]) == "welcome\n"
        longest = max(longest, time.monotonic() - begin)
    check("without Redis the last document holds, and nobody waits", longest < 0.2)
    check("nothing can be published meanwhile", ask(ports[0], "PUT", "/flags", text)[0] == 400)
    servers[1][0].terminate()
    servers[1][0].wait()
    servers[1] = start("two.json")
    ports[1] = servers[1][1]
    check("it holds after a restart as well", greeting(ports[1]) == "welcome\n")

    redis = start_redis()
    check("Redis is back, with nothing in it", ask(ports[0], "PUT", "/flags", edited("welcome", "hello"))[0] == 200)
    until("the last document", lambda: [greeting(port) for port in ports] == ["hello\n"] * 2)
    check("both servers follow it again", True)
finally:
    for process in [*(process for process, _ in servers), redis]:
        process.terminate()
print(f"{passed} passed, 0 failed")
