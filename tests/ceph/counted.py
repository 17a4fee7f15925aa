"""Runs inside the little Ceph: counts the changes that a process is about to make in Ceph, and ends it at the n-th.

Or stops it there, for whoever goes on late.

Reads are not counted: a crash before a read leaves what the change before it has left. The product knows nothing of
this.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import rbd

CHANGES = frozenset(
    {
        "aio_notify",
        "create_self_managed_snap",
        "execute",
        "operate_write_op",
        "remove_object",
        "remove_self_managed_snap",
        "write",
        "write_full",
    }
)
READS = frozenset({"dir_get_id", "dir_get_name", "get_info"})  # of the OSD's classes


class Fuse:
    """Sends the process a signal at the n-th step; never, if that is 0."""

    def __init__(self, fatal: int, counts: Callable[[], bool], number: int = signal.SIGKILL) -> None:
        self._numbers = itertools.count(1)
        self._fatal = fatal
        self._counts = counts
        self._number = number

    def step(self) -> None:
        if self._counts() and next(self._numbers) == self._fatal:
            os.kill(os.getpid(), self._number)
            time.sleep(0.2)  # SIGSTOP may reach another thread first: this one must not go on meanwhile


class Counted:
    """An ioctx whose changes are counted."""

    def __init__(self, ioctx: Any, fuse: Fuse) -> None:
        self.real = ioctx
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in CHANGES:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if not READS.intersection(map(str, arguments)):
                self._fuse.step()
            return found(*arguments, **named)

        return call


class Librbd:
    """The module `rbd` for code that has a counted ioctx."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(rbd, name)

    def Image(self, ioctx: Any, *arguments: Any, **named: Any) -> Any:
        return rbd.Image(getattr(ioctx, "real", ioctx), *arguments, **named)

    def RBD(self) -> Any:
        return self

    def trash_list(self, ioctx: Any) -> Any:
        return rbd.RBD().trash_list(ioctx.real)

    def trash_remove(self, ioctx: Any, *arguments: Any, **named: Any) -> None:
        self._fuse.step()
        rbd.RBD().trash_remove(ioctx.real, *arguments, **named)
