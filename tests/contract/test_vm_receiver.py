"""What waits in the dom0 that a VM moves to, spoken to as `xl migrate` speaks. Real xl meets it in the lab only."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.xapi import vm_receiver
from lab.xapi.hypervisor import RECEIVER


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("=2I", kind, len(body)) + body.ljust(-(-len(body) // 8) * 8, b"\0")


MEMORY = b"\xff" * 8 + b"XENF".ljust(16, b"\0") + b"\0" * 16
CONFIGURATION = b'{"name": "guest"}'
STREAM = b"".join(
    [
        vm_receiver.HEADER.pack(vm_receiver.MAGIC, 0xABCDEF, 3, 0, len(CONFIGURATION)) + CONFIGURATION,
        b"LibxlFmt".ljust(16, b"\0"),
        record(1) + MEMORY + record(1, b"page" * 1001) + record(6, b"odd") + record(0),
        record(2, b"xenstore"),
        record(0),
    ]
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lab-state" / "vm"


@pytest.fixture
def wire(file: Path) -> socket.socket:
    argv = [sys.executable, "-c", RECEIVER.read_text(), str(file)]
    port = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout
    connected = socket.create_connection(("127.0.0.1", int(port)), 20)
    assert read(connected, len(vm_receiver.BANNER)) == vm_receiver.BANNER
    return connected


def read(wire: socket.socket, count: int) -> bytes:
    return wire.recv(count, socket.MSG_WAITALL)


def test_a_domain_is_kept_whole_and_then_let_go(wire: socket.socket, file: Path) -> None:
    with wire:
        wire.sendall(STREAM[:-1])
        wire.settimeout(0.2)
        with pytest.raises(TimeoutError):
            wire.recv(1)  # not before the last byte
        wire.settimeout(20)
        wire.sendall(STREAM[-1:])
        assert read(wire, len(vm_receiver.READY)) == vm_receiver.READY
        assert file.read_bytes() == STREAM
        wire.sendall(vm_receiver.GO)
        assert read(wire, len(vm_receiver.STARTED)) == vm_receiver.STARTED
        assert wire.recv(1) == b""


@pytest.mark.parametrize(
    "spoil",
    [lambda stream: stream[:-5], lambda stream: stream.replace(b"LibxlFmt", b"LibxlOld"), lambda _: b"x" * 4096],
    ids=["broken off", "another form", "nonsense"],
)
def test_half_a_domain_leaves_nothing(spoil: Callable[[bytes], bytes], wire: socket.socket, file: Path) -> None:
    with wire:
        wire.sendall(spoil(STREAM))
        wire.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # it did not even read all of it
            assert wire.recv(1) == b"", "it said that it has a domain"
    deadline = time.monotonic() + 20
    while list(file.parent.iterdir()):
        assert time.monotonic() < deadline, "what broke off is still there"
        time.sleep(0.01)
