"""Frees the space of removed volumes, in the background: removing an image takes seconds, a caller waits for none.

Any service may do it for any pool, so nothing is lost when one dies half-way: the trash itself is the list of what is
to be done. Pools are those that were asked about since the start. Only images with Shoal's mark are touched.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable

import rados
import rbd

from volumes import header
from volumes.errors import ServiceError
from volumes.images import REMOVED_MARK
from volumes.listing import IMAGE_PREFIX

log = logging.getLogger("volumes")
LOCK_OBJECT = "shoal.purge"
LOCK_DURATION_S = 300
LOCK_FLAG_RENEW = 1  # librados has the name in C only
SWEEP_EVERY_S = 60.0

WithPool = Callable[[str, str, Callable[[Any], int], str], int]


class Purger:
    """`with_pool` is Ceph.with_pool."""

    def __init__(self, with_pool: WithPool) -> None:
        self._with_pool = with_pool
        self._pools: set[tuple[str, str]] = set()
        self._wake = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._work, name="purge", daemon=True).start()

    def notice(self, pool: str, namespace: str, *, now: bool) -> None:
        """Sweep this pool from now on; at once if it is new or something was just removed."""
        if now or (pool, namespace) not in self._pools:
            self._pools.add((pool, namespace))
            self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait(SWEEP_EVERY_S)
            self._wake.clear()
            for pool, namespace in sorted(self._pools):
                try:
                    self._with_pool(pool, namespace, sweep, "purge")
                except ServiceError as error:
                    log.warning("purge of pool %s: %s (tried again in %g s)", pool, error.message, SWEEP_EVERY_S)


def sweep(ioctx: Any) -> int:
    """Remove what is in the trash with our mark; how many. Nothing if another service is at it."""
    waiting = [entry for entry in rbd.RBD().trash_list(ioctx) if entry["name"].startswith(IMAGE_PREFIX)]
    purged = 0
    for entry in waiting:
        if not _lock(ioctx):
            break
        purged += _purge(ioctx, entry["id"], entry["name"])
    if purged:
        ioctx.unlock(LOCK_OBJECT, "purge", "purge")
    return purged


def _lock(ioctx: Any) -> bool:
    """Take or renew the lock; it ends by itself if we die."""
    try:
        ioctx.lock_exclusive(LOCK_OBJECT, "purge", "purge", "frees removed volumes", LOCK_DURATION_S, LOCK_FLAG_RENEW)
    except (rados.ObjectBusy, rados.ObjectExists):
        return False
    return True


def _purge(ioctx: Any, image_id: str, name: str) -> int:
    try:
        if REMOVED_MARK not in header.read_metadata(ioctx, image_id):
            return 0
        rbd.RBD().trash_remove(ioctx, image_id, force=True)
    except (rados.ObjectNotFound, rbd.ImageNotFound):
        return 0  # another service was quicker
    except rbd.Error as error:
        log.warning("%s stays in the trash for now: %s", name, error)
        return 0
    return 1
