"""Sweeps pools in the background: a caller waits for no image to be freed, which takes seconds. Ends what is overdue.

Any service may do it for any pool, one at a time, so nothing is lost when one dies half-way: what is to be done is to
be seen in the pool. Pools are those that were asked about since the start.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable

import rados

from volumes import noout
from volumes.errors import ServiceError
from volumes.pool import Pool, Pools
from volumes.sweep import Sweep

log = logging.getLogger("volumes")
LOCK_OBJECT = "shoal.purge"
LOCK_DURATION_S = 300
LOCK_RENEW_S = 30.0
LOCK_FLAG_RENEW = 1  # librados has the name in C only
SWEEP_EVERY_S = 60.0
WHOLE_SWEEP_EVERY_S = 600.0  # reads every header: what other services have left behind when they died

WithPool = Callable[[str, str, Callable[[Any], bool], str], bool]


class Purger:
    """`with_pool` is Ceph.with_pool."""

    def __init__(self, with_pool: WithPool, pools: Pools, monitors: noout.Monitors) -> None:
        self._with_pool = with_pool
        self._pools = pools
        self._monitors = monitors
        self._lock = threading.Lock()
        self._dirty: dict[tuple[str, str], set[str]] = {}
        self._whole_at: dict[tuple[str, str], float] = {}
        self._wake = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._work, name="purge", daemon=True).start()

    def notice(self, pool: str, namespace: str, images: set[str]) -> None:
        """Sweep this pool from now on; at once if it is new, or for those images."""
        with self._lock:
            wake = bool(images) or (pool, namespace) not in self._dirty
            self._dirty.setdefault((pool, namespace), set()).update(images)
        if wake:
            self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait(SWEEP_EVERY_S)
            self._wake.clear()
            with self._lock:
                waiting = {where: set(images) for where, images in self._dirty.items()}
            for (pool, namespace), images in sorted(waiting.items()):
                try:
                    self._sweep(pool, namespace, images)
                except Exception:  # noqa: BLE001 - a bug with one pool must not end the sweeping of all
                    log.exception("sweep of pool %s", pool)

    def _sweep(self, name: str, namespace: str, images: set[str]) -> None:
        where = (name, namespace)
        whole = time.monotonic() - self._whole_at.get(where, float("-inf")) > WHOLE_SWEEP_EVERY_S

        def work(ioctx: Any) -> bool:
            pool = Pool(ioctx, self._pools, images.add)
            self._end_overdue(pool)
            return sweep(pool, images, whole=whole)

        try:
            done = self._with_pool(name, namespace, work, "sweep")
        except ServiceError as error:
            log.warning("sweep of pool %s: %s (tried again in %g s)", name, error.message, SWEEP_EVERY_S)
            return
        if not done:  # another service is at it, but knows nothing of these images
            return
        if whole:
            self._whole_at[where] = time.monotonic()
        with self._lock:
            self._dirty[where] -= images

    def _end_overdue(self, pool: Pool) -> None:
        try:
            ended = noout.end_overdue(pool, self._monitors)
        except ServiceError as error:
            log.warning("noout cannot be taken back: %s (tried again in %g s)", error.message, SWEEP_EVERY_S)
            return
        if ended:
            log.info("took noout back for %s, which stayed away for longer than it was to", ", ".join(ended))


def sweep(pool: Pool, images: set[str], *, whole: bool) -> bool:
    """Whether it was done. Nothing is while another service is at it."""
    renewed_at = float("-inf")

    def go_on() -> bool:
        nonlocal renewed_at
        if time.monotonic() - renewed_at > LOCK_RENEW_S:
            if not _take_lock(pool.ioctx):
                return False
            renewed_at = time.monotonic()
        return True

    if not go_on():
        return False
    Sweep(pool, go_on).run(images, whole=whole)
    pool.ioctx.unlock(LOCK_OBJECT, "purge", "purge")
    return True


def _take_lock(ioctx: Any) -> bool:
    """Take or renew the lock; it ends by itself if we die."""
    try:
        ioctx.lock_exclusive(LOCK_OBJECT, "purge", "purge", "clears up", LOCK_DURATION_S, LOCK_FLAG_RENEW)
    except (rados.ObjectBusy, rados.ObjectExists):
        return False
    return True
