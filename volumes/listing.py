"""All volumes and snapshots of a pool with sizes and metadata, fast: one read of each header, no image is opened.

The reads run in a few threads. An image that cannot be read is reported by name, never left out: xapi forgets a disk
that a scan does not list.
"""

from __future__ import annotations

import concurrent.futures
import json
import struct
import time
from typing import Any, Optional

import rados

from volumes import directory, header, images, snapshots
from volumes.errors import ServiceError
from volumes.header import Header
from volumes.names import HALF_MADE_MARK, NEW_PREFIX, VOLUME_PREFIX
from volumes.pool import Pool

THREADS = 12
LOOKS = 5
TEXT_MAX_BYTES = 200  # of each text in a short list, as it stands in JSON
HALF_MADE_AGE_S = 600.0  # younger than that and without a header: it is being made


def read_all(pool: Pool, timeout_s: float, *, short: bool = False) -> dict[str, Any]:
    """`volumes` and `snapshots` that could be read, and `broken`, what could not (with the reason). In a `short` list
    an entry lacks long texts, and says so.
    """
    names = {i: name for i, name in directory.read_names(pool.ioctx).items() if not name.startswith(NEW_PREFIX)}
    volumes: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for image_id, (image, error) in _read_headers(pool, names, timeout_s).items():
        name = names[image_id]
        if error:
            failed[image_id] = error
        elif image is not None and HALF_MADE_MARK not in image.metadata:
            try:
                found += [snapshot.describe() for snapshot in snapshots.all_of(image)]
            except (ValueError, KeyError) as bad:
                failed[image_id] = f"an entry of a snapshot cannot be read: {bad}"
            if name.startswith(VOLUME_PREFIX):
                volumes.append(images.describe(name[len(VOLUME_PREFIX) :], image))
        elif image is None and name.startswith(VOLUME_PREFIX):
            failed[image_id] = "it has no header"
    if short:
        volumes, found = [_shorten(each) for each in volumes], [_shorten(each) for each in found]
    return {"volumes": volumes, "snapshots": found, "broken": _still_there(pool, failed, names)}


def _shorten(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {key: text for key, text in entry["metadata"].items() if len(json.dumps(text)) <= TEXT_MAX_BYTES}
    return entry if len(kept) == len(entry["metadata"]) else {**entry, "metadata": kept, "shortened": True}


def _read_headers(pool: Pool, names: dict[str, str], timeout_s: float) -> dict[str, tuple[Optional[Header], str]]:
    end = time.monotonic() + timeout_s
    ids = list(names)

    def read(image_id: str) -> tuple[Optional[Header], str]:
        if time.monotonic() > end:  # Ceph went away: what still waits in the queue must not wait for it one by one
            raise ServiceError(504, "timeout", f"listing: no answer from Ceph within {timeout_s:g} s")
        try:
            return header.read(pool.ioctx, image_id) or _read_successor(pool, image_id, names[image_id]), ""
        except rados.TimedOut:
            raise  # that is Ceph, not this image
        except (rados.Error, KeyError, struct.error, ValueError) as error:
            return None, f"its header cannot be read: {error}"

    with concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="list") as threads:
        return dict(zip(ids, threads.map(read, ids)))  # noqa: B905 - Python 3.9 has no strict


def _read_successor(pool: Pool, image_id: str, name: str) -> Optional[Header]:
    """Of an image that is gone: the one that a revert or a reset has put in its place since the names were read."""
    for _ in range(LOOKS):
        now = directory.find_id(pool.ioctx, name) if name.startswith(VOLUME_PREFIX) else None
        if now is None or now == image_id:
            return None
        found = header.read(pool.ioctx, now)
        if found is not None:
            return found
        image_id = now
    raise ServiceError(409, "in_use", f"{name} is being reverted all the time")


def _still_there(pool: Pool, failed: dict[str, str], names: dict[str, str]) -> list[dict[str, Any]]:
    """Of the images that could not be read, those that were not simply removed meanwhile or are just being made."""
    broken = []
    for image_id, error in failed.items():
        name = names[image_id]
        if directory.find_name(pool.ioctx, image_id) != name:
            continue
        if error == "it has no header" and directory.age_s(pool.ioctx, name) < HALF_MADE_AGE_S:
            continue
        broken.append({"id": name[len(VOLUME_PREFIX) :] if name.startswith(VOLUME_PREFIX) else name, "error": error})
    return broken


def count(pool: Pool) -> int:
    """How many volumes and snapshots there are."""
    found = read_all(pool, 10.0)
    return len(found["volumes"]) + len(found["snapshots"]) + len(found["broken"])
