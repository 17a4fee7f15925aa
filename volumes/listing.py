"""All volumes of a pool with sizes and metadata, fast: two short header reads each, no image is opened.

The reads run in a few threads and not in librados' asynchronous form, whose Python binding writes beyond its buffer
when an answer is longer than expected. An image that cannot be read is reported by name, never left out: xapi forgets
a disk that a scan does not list.
"""

from __future__ import annotations

import concurrent.futures
import struct
import time
from typing import Any

import rados
import rbd

from volumes import header
from volumes.errors import ServiceError

IMAGE_PREFIX = "vdi-"
THREADS = 12


def read_names(ioctx: Any) -> dict[str, str]:
    """Volume id → image id of every volume in the pool's directory."""
    entries = rbd.RBD().list2(ioctx)
    start = len(IMAGE_PREFIX)
    return {entry["name"][start:]: entry["id"] for entry in entries if entry["name"].startswith(IMAGE_PREFIX)}


def read_all(ioctx: Any, timeout_s: float) -> dict[str, Any]:
    """`volumes` that could be read and `broken`, those that could not (with the reason)."""
    end = time.monotonic() + timeout_s

    def read(entry: tuple[str, str]) -> dict[str, Any]:
        if time.monotonic() > end:  # Ceph went away: what still waits in the queue must not wait for it one by one
            raise ServiceError(504, "timeout", f"listing: no answer from Ceph within {timeout_s:g} s")
        return _read_one(ioctx, *entry)

    with concurrent.futures.ThreadPoolExecutor(THREADS, thread_name_prefix="list") as threads:
        found = list(threads.map(read, read_names(ioctx).items()))
    failed = {entry["id"]: entry["error"] for entry in found if "error" in entry}
    volumes = [entry for entry in found if "error" not in entry]
    return {"volumes": volumes, "broken": _still_there(ioctx, failed)}


def _read_one(ioctx: Any, volume_id: str, image_id: str) -> dict[str, Any]:
    try:
        size_bytes = header.read_size(ioctx, image_id)
        return {"id": volume_id, "size_bytes": size_bytes, "metadata": header.read_metadata(ioctx, image_id)}
    except rados.TimedOut:
        raise  # that is Ceph, not this image
    except (rados.Error, struct.error, ValueError) as error:
        return {"id": volume_id, "error": f"its header cannot be read: {error}"}


def _still_there(ioctx: Any, failed: dict[str, str]) -> list[dict[str, Any]]:
    """Of the images that could not be read, those that were not simply removed meanwhile."""
    if not failed:
        return []
    names = read_names(ioctx)
    return [{"id": volume_id, "error": error} for volume_id, error in failed.items() if volume_id in names]
