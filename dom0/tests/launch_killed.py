"""Runs the driver as `launch.py` does and kills it at one of its steps: `launch_killed.py STEP FOLDER REQUEST`.

A step is the moment before or after an outside call, or amid one (the request sent, the answer not read). Each is written
to FOLDER/steps as it is reached; step 0 kills nowhere. In the child that writes to the kernel it is the driver that dies:
the write goes on, as the kernel would. Python 3.6.
"""

import fcntl
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))

from shoal_dom0 import datapath, protocol, wire  # noqa: E402

step = int(sys.argv.pop(1))
driver_pid = os.getpid()
steps = os.open(os.path.join(sys.argv[1], "steps"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)


def reach(name):
    os.write(steps, name.encode() + b"\n")
    if count() == step:
        os.kill(driver_pid, signal.SIGKILL)


def count():
    with open("/proc/self/fd/%d" % steps, "rb") as file:
        return file.read().count(b"\n")


def around(owner, function, name):
    inner = getattr(owner, function)

    def outer(*arguments, **keys):
        reach("before " + name)
        try:
            return inner(*arguments, **keys)
        finally:
            reach("after " + name)

    setattr(owner, function, outer)


class Told:
    """A connection whose request has been sent: a step of its own, as the other side may now be at work."""

    def __init__(self, connection, name):
        self._connection = connection
        self._name = name

    def __getattr__(self, attribute):
        return getattr(self._connection, attribute)

    def sendall(self, data):
        self._connection.sendall(data)
        reach("amid " + self._name)


def wrap_exchanges():
    inner = wire.exchange

    def outer(connection, version, request, *bounds):
        method, target, body = request
        name = "%s %s" % (method, target)
        if target == "/jsonrpc":
            import json

            name = json.loads(body.decode())["method"]
        reach("before " + name)
        answer = inner(Told(connection, name), version, request, *bounds)
        reach("after " + name)
        return answer

    wire.exchange = outer


def killed_main(argv):
    """Installs the steps last, when `launch` has put its own parts in place."""
    wrap_exchanges()
    around(datapath, "_write", "the kernel's work")
    around(datapath, "_write_bounded", "a write to the kernel")
    for function in ("symlink", "rename", "replace", "unlink", "remove", "makedirs", "mkdir", "rmdir"):
        around(os, function, function)
    around(fcntl, "flock", "flock")
    around(subprocess, "Popen", "a program")
    code = main(argv)
    reach("after the answer")
    return code


main = protocol.main
protocol.main = killed_main
with open(os.path.join(HERE, "launch.py")) as source:
    exec(compile(source.read(), os.path.join(HERE, "launch.py"), "exec"), {"__file__": os.path.join(HERE, "launch.py")})
