"""Who a process is, so that it can be told from a later one with the same pid."""

from __future__ import annotations

import getpass
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """`boot` and `started` (clock ticks since then) make a pid unique; empty where the system does not tell."""

    user: str
    machine: str
    boot: str
    pid: int
    started: int

    def to_dict(self) -> dict[str, str | int]:
        return {
            "who": self.user,
            "host": self.machine,
            "boot": self.boot,
            "pid": self.pid,
            "started": self.started,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Process:
        return cls(
            user=str(values.get("who", "somebody")),
            machine=str(values.get("host", "an unknown machine")),
            boot=str(values.get("boot", "")),
            pid=int(str(values.get("pid", 0))),
            started=int(str(values.get("started", 0))),
        )


def this_process() -> Process:
    pid = os.getpid()
    return Process(_user(), platform.node(), _boot(), pid, _start_time(pid) or 0)


def is_gone(process: Process) -> bool:
    """Surely gone: it ran on this machine since its last boot, and runs no more. False whenever that cannot be told."""
    if not process.boot or process.boot != _boot():
        return False
    return _start_time(process.pid) != process.started


def _boot() -> str:
    """This boot and this pid namespace: a pid of another container means nothing here."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; a zombie has ended."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name
        return f"uid {os.getuid()}"
