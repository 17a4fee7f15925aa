"""Runs work in a bounded number of threads and never waits longer than it said.

librados can hang beyond its own time-outs. A caller then gets its answer in time all the same, and if a thread stays
stuck the whole process ends, so that its supervisor starts a clean one. Work of one kind never waits for that of
another. It must not know what the work is.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import Callable, Optional, TypeVar

from volumes.errors import ServiceError

Result = TypeVar("Result")
log = logging.getLogger("volumes")
EXIT_STUCK = 70


@dataclass(frozen=True)
class Kind:
    """Work that shares threads. With `queue_s` its time counts from its beginning, for which it may wait that long."""

    name: str
    threads: int
    timeout_s: float
    queue_s: Optional[float] = None
    late_code: str = "timeout"  # the answer's, for what has begun and does not end in time


class Workers:
    def __init__(self, kinds: tuple[Kind, ...], stuck_after_s: float) -> None:
        self._executors = {
            kind.name: concurrent.futures.ThreadPoolExecutor(kind.threads, thread_name_prefix=f"worker-{kind.name}")
            for kind in kinds
        }
        self._stuck_after_s = stuck_after_s
        self._running: dict[int, float] = {}
        self._numbers = itertools.count()

    def run(self, work: Callable[[], Result], kind: Kind, doing: str) -> Result:
        """The result of `work`, or a ServiceError when it has not ended in time."""
        begun = threading.Event()
        future = self._executors[kind.name].submit(self._tracked, work, begun)
        # What has not begun must not begin later, when nobody waits for it any more.
        busy = ServiceError(504, "timeout", f"{doing}: this service is busy with {kind.threads} others of its kind")
        if kind.queue_s is not None and not begun.wait(kind.queue_s) and future.cancel():
            raise busy
        try:
            return future.result(kind.timeout_s)
        except concurrent.futures.TimeoutError:
            if future.cancel():
                raise busy from None
            message = f"{doing}: no answer from Ceph within {kind.timeout_s:g} s"
            raise ServiceError(504, kind.late_code, message) from None

    def watch(self) -> None:
        """End the process once a job is stuck. Call once; the watcher is a daemon thread."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _tracked(self, work: Callable[[], Result], begun: threading.Event) -> Result:
        begun.set()
        number = next(self._numbers)
        self._running[number] = time.monotonic()
        try:
            return work()
        finally:
            del self._running[number]

    def _watch(self) -> None:
        while True:
            time.sleep(min(5.0, self._stuck_after_s / 4))
            oldest = min(list(self._running.values()), default=time.monotonic())
            if time.monotonic() - oldest > self._stuck_after_s:
                log.error("a call into Ceph has been stuck for more than %g s: ending", self._stuck_after_s)
                os._exit(EXIT_STUCK)
