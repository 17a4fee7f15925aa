"""Numbers for snapshots, a few of each pool in hand: the monitors take from 50 ms to a second for one.

A number in hand is nobody else's, and one that is never used nobody misses. Those of one image must rise, as its header
sees to. It must not know what a snapshot is of.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

import rados

log = logging.getLogger("volumes")
IN_HAND = 4  # the disks of a VM are snapshotted one after the other


class SnapIds:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_hand: dict[int, list[int]] = {}
        self._filling: set[int] = set()

    def take(self, ioctx: Any, above: int) -> int:
        """One of this pool that is higher than `above`. Lower ones are dropped: others would find them too low, too."""
        pool_id = int(ioctx.get_pool_id())
        with self._lock:
            usable = [each for each in self._in_hand.get(pool_id, []) if each > above]
            self._in_hand[pool_id] = usable[1:]
        self._fill(ioctx, pool_id)
        return usable[0] if usable else int(ioctx.create_self_managed_snap())

    def _fill(self, ioctx: Any, pool_id: int) -> None:
        with self._lock:
            if pool_id in self._filling:
                return
            self._filling.add(pool_id)
        try:
            threading.Thread(target=self._ask, args=(ioctx, pool_id), name="snap ids", daemon=True).start()
        except RuntimeError as error:  # no thread is left; the next call asks for some
            log.warning("no numbers for snapshots are asked for ahead: %s", error)
            with self._lock:
                self._filling.discard(pool_id)

    def _ask(self, ioctx: Any, pool_id: int) -> None:
        try:
            while len(self._in_hand[pool_id]) < IN_HAND:
                found = int(ioctx.create_self_managed_snap())
                with self._lock:
                    self._in_hand[pool_id].append(found)
        except (rados.Error, OSError) as error:
            log.info("no numbers for snapshots in hand: %s (asked for when one is needed)", error)
        finally:
            with self._lock:
                self._filling.discard(pool_id)
