"""Who has an image open, and telling them that its header has changed. It must not know what a volume is."""

from __future__ import annotations

import concurrent.futures
import errno
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

import rados
import rbd

from volumes import directory, fences, lockers
from volumes.errors import ServiceError, in_use
from volumes.header import header_object
from volumes.lockers import Locker, plain
from volumes.pool import Pool

log = logging.getLogger("volumes")
NOTICE_TIMEOUT_S = 4  # whole seconds; a holder that lives answers in milliseconds
LOOK_TIMEOUT_S = 1  # enough to see that there is one
SPARE_S = 3.0
LOCK_NAME = "rbd_lock"
THREADS = 12
TRIES = 3


@dataclass(frozen=True)
class Answered:
    clients: frozenset[str]  # those that answered, as client.4123
    holders: int
    silent: int  # of them, those that did not answer in time


def notice_change(ioctx: Any, image_id: str, timeout_s: int = NOTICE_TIMEOUT_S) -> Answered:
    """Have every holder read the header anew, and wait until each has.

    An empty message means just that to librbd and to the kernel (src/librbd/ImageWatcher.cc, drivers/block/rbd.c). The
    kernel answers once it has; librbd answers at once and reads before its next write.
    """
    ended = threading.Event()
    answer: dict[str, Any] = {}

    def complete(_: Any, code: int, answered: Any, silent: Any) -> None:
        answer.update(code=code, answered=list(answered or ()), silent=len(silent or ()))
        ended.set()

    completion = ioctx.aio_notify(header_object(image_id), complete, "", timeout_s * 1000)
    if not ended.wait(timeout_s + SPARE_S):
        raise ServiceError(504, "timeout", f"image {image_id}: its holders could not be told of a change")
    del completion
    code = abs(answer["code"])
    if code == errno.ENOENT:
        raise rados.ObjectNotFound(f"image {image_id} is gone", errno=code)
    if code not in (0, errno.ETIMEDOUT):
        raise rados.Error(f"image {image_id}: notify", errno=code)
    # When it timed out, the binding may not say who was silent; somebody was.
    silent = max(answer["silent"], 1 if code else 0)
    clients = frozenset(f"client.{each[0]}" for each in answer["answered"])
    return Answered(clients, len(answer["answered"]) + silent, silent)


def settle(pool: Pool, image_id: str) -> None:
    """Have all who may write to the image read its header anew; refused while one of them does not answer.

    So is the owner of its lock if it watches no more: its host was cut off, and may be back with the writes that it had
    under way, which know nothing of the change. Only one that is fenced counts as nobody.
    """
    for _ in range(TRIES):
        answered = notice_change(pool.ioctx, image_id)
        unheard = [each for each in _owners(pool.ioctx, image_id) if each.client not in answered.clients]
        left = _unfenced(pool, unheard)
        if answered.silent or not left:
            break
        # Told once more: it may have opened the image since, or be back.
    if left:
        raise in_use(
            f"the host at {', '.join(left)} holds the disk, has not been heard by Ceph, and is not fenced: it may still"
            " write. This succeeds once that host is back, or is fenced (the keepers fence a dead host, and what a host"
            " was before its boot, by themselves)"
        )
    if answered.silent:
        raise in_use(
            "a client that has the disk open does not answer, so there is no one moment to take a snapshot of; "
            "once it is gone Ceph forgets it within half a minute"
        )


def read(ioctx: Any, image_id: str) -> dict[str, Any]:
    """Locks and watchers. A lock whose owner does not watch any more belongs to a client that is gone.

    Asking librbd opens the image, and all its parents; mostly there is nobody to ask about.
    """
    if not is_locked(ioctx, image_id) and notice_change(ioctx, image_id, LOOK_TIMEOUT_S).holders == 0:
        return {"locks": [], "watchers": []}
    with rbd.Image(ioctx, image_id=image_id, read_only=True) as image:
        locks = image.list_lockers() or {}
        watchers = list(image.watchers_list())
    watching = {f"client.{watcher['id']}" for watcher in watchers}
    return {
        "locks": [
            {"client": client, "cookie": cookie, "address": address, "alive": client in watching}
            for client, cookie, address in locks.get("lockers", [])
        ],
        "watchers": [{"client": f"client.{w['id']}", "address": w["addr"]} for w in watchers],
    }


def is_locked(ioctx: Any, image_id: str) -> bool:
    return bool(_owners(ioctx, image_id))


def _owners(ioctx: Any, image_id: str) -> list[Locker]:
    return lockers.read(ioctx, header_object(image_id), LOCK_NAME)


def read_owners(pool: Pool, timeout_s: float) -> list[dict[str, str]]:
    """The owners of the locks of all images, by image: the clients that may write, alive or not. No image is opened."""
    end = time.monotonic() + timeout_s

    def read_image(image: tuple[str, str]) -> list[dict[str, str]]:
        image_id, name = image
        if time.monotonic() > end:
            raise ServiceError(504, "timeout", f"holders: no answer from Ceph within {timeout_s:g} s")
        found = lockers.read(pool.ioctx, header_object(image_id), LOCK_NAME)
        return [{"image": name, "client": each.client, "address": each.address} for each in found]

    names = directory.read_names(pool.ioctx)
    with concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="owners") as threads:
        return [owner for found in threads.map(read_image, names.items()) for owner in found]


def refuse_if_held(pool: Pool, image_id: str, what: str) -> None:
    """Nobody has it open, and nobody who had it writes any more: an owner of its lock that does not watch is fenced."""
    fenced: set[str] = set()
    for _ in range(TRIES):
        try:
            held = read(pool.ioctx, image_id)
        except rbd.ImageNotFound:
            return
        # One that was fenced here may be back since, and the OSD takes a moment to end its watch.
        watching = {watcher["address"] for watcher in held["watchers"]}
        living = sorted(address for address in watching if plain(address) not in fenced)
        if living:
            raise in_use(f"{what} is in use by {', '.join(living)}", holders=held)
        lost = {lock["client"] for lock in held["locks"]}
        # Not one that has just let go, which is well.
        owners = [each for each in _owners(pool.ioctx, image_id) if each.client in lost] if lost else []
        left = _unfenced(pool, owners)
        if not left:
            return
        log.warning("%s: fencing %s, which holds its lock and does not watch it", what, ", ".join(left))
        fences.add(pool.monitors, left)
        fenced.update(left)
    raise in_use(f"{what} is opened and left by others all the time")


def _unfenced(pool: Pool, owners: list[Locker]) -> list[str]:
    """Those that are not on Ceph's blocklist, by address. If there are none, this service's map says so, too."""
    return fences.unfenced(pool.monitors, [each.address for each in owners]) if owners else []
