"""Starts the greeter on a free port and makes the calls of its README."""

import os
import re
import socket
import subprocess
import sys
import time

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
environment = {**os.environ, "PORT": str(port)}
run = ["cargo", "run", "--quiet", "--locked", "-p", "tonic-greeter"]
subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "tonic-greeter"], check=True)
server = subprocess.Popen(run, env=environment, stdout=subprocess.PIPE, text=True)
try:
    server.stdout.readline()
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                sys.exit("greeter: the server does not listen")
            time.sleep(0.05)
    output = subprocess.run(
        [*run, "--bin", "tonic-greeter-client"], env=environment, capture_output=True, text=True, check=True
    ).stdout
finally:
    server.terminate()
lines = output.splitlines()
if not lines[0].startswith("UNAUTHENTICATED: "):
    sys.exit(f"greeter: let in without a key: {output}")
if not lines[1].startswith("PERMISSION_DENIED: "):
    sys.exit(f"greeter: let in without the scope: {output}")
lines = lines[2:]
if lines[:3] != ["Hello, Bart!"] * 3:
    sys.exit(f"greeter: not greeted: {output}")
if not re.fullmatch(r"RESOURCE_EXHAUSTED: too many requests, retry in [1-9]\d* ms", lines[3]):
    sys.exit(f"greeter: not limited: {output}")
print("ok: UNAUTHENTICATED without a key")
print("ok: PERMISSION_DENIED without the scope")
print("ok: three greetings, then RESOURCE_EXHAUSTED with a wait")
print("3 passed, 0 failed")
