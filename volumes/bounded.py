"""Runs work in a bounded number of threads and never waits longer than it said.

librados can hang beyond its own time-outs. A caller then gets its answer in time all the same, and if a thread stays
stuck the whole process ends, so that its supervisor starts a clean one. It must not know what the work is.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import logging
import os
import threading
import time
from typing import Callable, TypeVar

from volumes.errors import ServiceError

Result = TypeVar("Result")
log = logging.getLogger("volumes")
EXIT_STUCK = 70


class Workers:
    def __init__(self, threads: int, stuck_after_s: float) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self._stuck_after_s = stuck_after_s
        self._running: dict[int, float] = {}
        self._numbers = itertools.count()

    def run(self, work: Callable[[], Result], timeout_s: float, doing: str) -> Result:
        """The result of `work`, or a ServiceError when it has not ended within `timeout_s`."""
        future = self._executor.submit(self._tracked, work)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            # What has not begun must not begin later, when nobody waits for it any more.
            future.cancel()
            raise ServiceError(504, "timeout", f"{doing}: no answer from Ceph within {timeout_s:g} s") from None

    def watch(self) -> None:
        """End the process once a job is stuck. Call once; the watcher is a daemon thread."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _tracked(self, work: Callable[[], Result]) -> Result:
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
