"""Control groups of storage VMs, each with a tree of its own, as a guest with its own kernel has.

Containers that share one tree are one system to systemd: `systemctl kill docker` in one ends the Docker of all.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

REMOVE_WITHIN_S = 10.0
SYSTEMD = "name=systemd"


def enter(name: str) -> None:
    """Have this process, and what it becomes, be in the group of that name, at the top of every tree of systemd's."""
    for top in _tops():
        (top / name).mkdir(exist_ok=True)
        (top / name / "cgroup.procs").write_text("0")


def remove(name: str) -> None:
    """Once its processes have ended, which the kernel may be told a moment later. Idempotent. Raises OSError."""
    for top in _tops():
        if (top / name).exists():
            _remove(top / name)


def _remove(top: Path) -> None:
    deadline_s = time.monotonic() + REMOVE_WITHIN_S
    for folder, _, _ in os.walk(top, topdown=False):
        while True:
            try:
                Path(folder).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)


def _tops() -> list[Path]:
    """Where the trees are mounted that systemd keeps units in: the unified one, and its own of the old kind."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and SYSTEMD in options.split(",")):
            found.append(Path(place))
    return found
