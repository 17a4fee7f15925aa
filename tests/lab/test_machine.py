"""What QEMU says of a machine, on a real QEMU that holds none: a reset is told from an end."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import host as hosts
from lab import machine
from lab.accelerator import QEMU
from lab.command import record
from lab.topology import Host

pytestmark = pytest.mark.lab


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host("xen1", 1, tmp_path)
    argv = [QEMU, "-nodefaults", "-display", "none", "-machine", "none", "-S"]
    argv += ["-qmp", f"unix:{hosts.monitor_socket(made)},server=on,wait=off"]
    argv += ["-qmp", f"unix:{tmp_path / 'button'},server=on,wait=off"]
    with subprocess.Popen(argv) as qemu:
        record(hosts.pid_file(made), qemu.pid)
        yield made
        qemu.kill()


def press(host: Host, command: str) -> None:
    """A button on the machine's case."""
    button = host.dir / "button"
    deadline = time.monotonic() + 20
    while not button.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
        wire.connect(str(button))
        for word in ("qmp_capabilities", command):
            wire.sendall(json.dumps({"execute": word}).encode() + b"\n")
        wire.settimeout(20)
        said = b""
        while said.count(b'"return"') < 2 and (more := wire.recv(4096)):
            said += more


@pytest.mark.parametrize(("command", "told"), [("system_reset", "reset"), ("quit", "end")])
def test_a_reset_is_told_from_an_end(host: Host, command: str, told: str) -> None:
    seen, is_told = [], threading.Event()

    def note(what: str) -> None:
        seen.append(what)
        is_told.set()

    machine.watch(host, on_reset=lambda: note("reset"), on_end=lambda: note("end"))
    time.sleep(2.5)  # until it listens: it tries once a second
    press(host, command)
    assert is_told.wait(20)
    assert seen == [told]
