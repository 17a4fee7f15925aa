"""Runs inside the little Ceph: the volume service, but it kills itself before its n-th call of Ceph for one request.

`dying_service.py CONFIG N`. Counted are the calls of the threads that serve requests; it sweeps nothing. The product
knows nothing of this.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from typing import Any

sys.path.insert(0, "/repository")

import rbd

import volumes.changes
import volumes.flatten
import volumes.holders
import volumes.pool
import volumes.revert
from volumes import __main__ as service
from volumes import ceph, purge

OUTSIDE = frozenset(
    {
        "aio_notify",
        "create_self_managed_snap",
        "execute",
        "operate_read_op",
        "operate_write_op",
        "read",
        "remove_self_managed_snap",
        "stat",
        "write",
        "write_full",
    }
)
numbers = itertools.count(1)
fatal = int(sys.argv[2])


def step() -> None:
    if threading.current_thread().name.startswith("worker") and next(numbers) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)


class Counted:
    """An ioctx whose calls of Ceph are counted."""

    def __init__(self, ioctx: Any) -> None:
        self.real = ioctx

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in OUTSIDE:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            step()
            return found(*arguments, **named)

        return call


def opened(ioctx: Any, *arguments: Any, **named: Any) -> Any:
    step()
    return rbd.Image(getattr(ioctx, "real", ioctx), *arguments, **named)


class Librbd:
    """The module `rbd` with an Image that is counted."""

    Image = staticmethod(opened)

    def __getattr__(self, name: str) -> Any:
        return getattr(rbd, name)


def main() -> None:
    plain = ceph.Ceph._pool
    ceph.Ceph._pool = lambda self, pool, namespace: Counted(plain(self, pool, namespace))  # type: ignore[method-assign]
    for module in (volumes.holders, volumes.revert, volumes.changes, volumes.flatten):
        module.rbd = Librbd()  # type: ignore[attr-defined]
    purge.Purger.start = lambda self: None  # type: ignore[method-assign]
    sys.argv[1:] = ["--config", sys.argv[1]]
    service.main()


main()
