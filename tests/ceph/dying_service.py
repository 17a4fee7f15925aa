"""Runs inside the little Ceph: the volume service, but it kills itself at the n-th step of the requests that it serves.

`dying_service.py CONFIG N`. Steps are the calls of Ceph that may change something, before they are made, and the
answer, before it is sent; so every state that a crash can leave is met. It sweeps nothing. The product knows nothing
of this.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from typing import Any

sys.path.insert(0, "/repository")

from volumes import __main__ as service
from volumes import ceph, purge, routes

CHANGES = frozenset(
    {
        "aio_notify",
        "create_self_managed_snap",
        "execute",
        "operate_write_op",
        "remove_self_managed_snap",
        "write",
        "write_full",
    }
)
READS = frozenset({"dir_get_id", "dir_get_name", "get_info"})  # of the OSD's classes
numbers = itertools.count(1)
fatal = int(sys.argv[2])


def step() -> None:
    if next(numbers) == fatal:
        os.kill(os.getpid(), signal.SIGKILL)


class Counted:
    """An ioctx whose changes are counted."""

    def __init__(self, ioctx: Any) -> None:
        self.real = ioctx

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if name not in CHANGES:
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread().name.startswith("worker") and not READS.intersection(map(str, arguments)):
                step()
            return found(*arguments, **named)

        return call


def main() -> None:
    plain, answer = ceph.Ceph._pool, routes.Routes._in_pool

    def answer_or_die(*arguments: Any) -> Any:
        found = answer(*arguments)
        step()
        return found

    ceph.Ceph._pool = lambda self, pool, namespace: Counted(plain(self, pool, namespace))  # type: ignore[method-assign]
    routes.Routes._in_pool = answer_or_die  # type: ignore[method-assign]
    purge.Purger.start = lambda self: None  # type: ignore[method-assign]
    sys.argv[1:] = ["--config", sys.argv[1]]
    service.main()


main()
