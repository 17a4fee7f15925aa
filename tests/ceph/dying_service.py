"""Runs inside the little Ceph: the volume service, but it kills itself at the n-th step of the requests that it serves.

`dying_service.py CONFIG N [stop]`; with `stop` it stops there, until somebody has it go on. Steps are the changes that
it is about to make in Ceph, and the answer before it is sent; so every state that a crash can leave is met. It sweeps
nothing.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

sys.path.insert(0, "/repository")

from tests.ceph.counted import Counted, Fuse, Librbd
from volumes import __main__ as service
from volumes import ceph, holders, purge, revert, routes


def is_request() -> bool:
    return threading.current_thread().name.startswith(("worker", "Thread"))


def main() -> None:
    fuse = Fuse(int(sys.argv[2]), is_request, signal.SIGSTOP if sys.argv[3:] == ["stop"] else signal.SIGKILL)
    plain, answer, order = ceph.Ceph._pool, routes.Routes._in_pool, ceph.Ceph.order

    def counted(*arguments: Any) -> Any:
        return Counted(plain(*arguments), fuse)

    def answer_or_die(*arguments: Any) -> Any:
        found = answer(*arguments)
        fuse.step()
        return found

    def counted_order(*arguments: Any, **named: Any) -> Any:
        if named["prefix"] == "osd blocklist":
            fuse.step()
        return order(*arguments, **named)

    ceph.Ceph.order = counted_order  # type: ignore[method-assign]
    ceph.Ceph._pool = counted  # type: ignore[method-assign, assignment]
    routes.Routes._in_pool = answer_or_die  # type: ignore[method-assign, assignment]
    purge.Purger.start = lambda self: None  # type: ignore[method-assign]
    for module in (holders, revert):
        module.rbd = Librbd(fuse)  # type: ignore[attr-defined]
    sys.argv[1:] = ["--config", sys.argv[1]]
    service.main()


main()
