"""Starts the greeter on a free port and makes the calls of its README."""

import os
import pathlib
import re
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import Example, check, finish, free_port, until

CLIENT = ["cargo", "run", "--quiet", "--locked", "-p", "tonic-greeter", "--bin", "tonic-greeter-client"]
port = free_port()


def listens():
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def told():
    """What the client prints at a server that has just begun."""
    with Example("tonic-greeter", PORT=str(port)):
        until("the server", listens)
        environment = {**os.environ, "PORT": str(port)}
        return subprocess.run(CLIENT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


# A fourth greeting is within the quota if it is asked for two seconds after the first: then again.
for _ in range(3):
    lines = (output := told()).splitlines()
    if "RESOURCE_EXHAUSTED" in output:
        break
print(output, end="")
check("UNAUTHENTICATED without a key", lines[0].startswith("UNAUTHENTICATED: "))
check("PERMISSION_DENIED without the scope", lines[1].startswith("PERMISSION_DENIED: "))
limited = re.fullmatch(r"RESOURCE_EXHAUSTED: too many requests, retry in [1-9]\d* ms", lines[5])
check("three greetings, then RESOURCE_EXHAUSTED with a wait", lines[2:5] == ["Hello, Bart!"] * 3 and limited)
finish()
