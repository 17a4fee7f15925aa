"""The tapdisk side of a host: the executable that answers as tap-ctl does, its folders, and what is left in them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

TAP_CTL = Path(__file__).with_name("tap_ctl.py")


class Tap:
    """`generation` is "kernel", with a block device for each tapdisk, or "files", with its NBD socket only."""

    def __init__(self, host: Path, generation: str) -> None:
        self.folder = host / "tap"
        self.run = self.folder / "run"
        self.device_folder = self.folder / "blktap"
        (self.run / "tapdisk").mkdir(parents=True)
        (self.folder / "generation").write_text(generation)
        if generation == "kernel":
            self.device_folder.mkdir()
        self.program = self.folder / "tap-ctl"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {TAP_CTL} {self.folder} "$@"\n')
        self.program.chmod(0o755)

    def stop(self) -> None:
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)

    def trouble(self, verb: str, do: str, **values: Any) -> None:
        (self.folder / "trouble.json").write_text(json.dumps({verb: {"do": do, **values}}))

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self) -> list[int]:
        """Tapdisks of this host that live."""
        found = []
        for path in self.run.glob("ctl*"):
            try:
                state = Path(f"/proc/{path.name[3:]}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                continue
            if state != "Z":
                found.append(int(path.name[3:]))
        return sorted(found)

    def has_open(self, device: Path) -> bool:
        """Whether a tapdisk of this host has the device open."""
        for descriptor in [path for pid in self.pids() for path in Path(f"/proc/{pid}/fd").glob("*")]:
            with contextlib.suppress(OSError):  # it has ended, or closed it
                if descriptor.readlink() == device:
                    return True
        return False

    def left(self) -> dict[str, Any]:
        """What remains: processes, numbers, links and devices."""
        self._wait_for_ends()
        return {
            "pids": self.pids(),
            "numbers": sorted(path.name for path in (self.run / "tapdisk").iterdir()),
            "links": sorted(str(path) for path in (self.run / "nbd").rglob("*") if path.is_symlink()),
            "sockets": sorted(path.name for path in self.run.glob("nbd*.*")),
        }

    def _wait_for_ends(self) -> None:
        """A tapdisk ends by itself a moment after its last number was detached."""
        end = time.monotonic() + 2
        while self.pids() and time.monotonic() < end:
            time.sleep(0.02)


NOTHING: dict[str, Any] = {"pids": [], "numbers": [], "links": [], "sockets": []}


def nbd_size_bytes(path: Path) -> int:
    """What the NBD server behind a socket, or a link to one, says that the disk's size is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path.resolve()))
        stream = connection.makefile("rb")
        assert stream.read(18)[:16] == b"NBDMAGICIHAVEOPT"
        connection.sendall(struct.pack(">I", 1) + struct.pack(">QII", 0x49484156454F5054, 1, 0))
        return int(struct.unpack(">QH", stream.read(10))[0])
