"""Which blocks differ between two snapshots of one image, and how much of an image is really there.

librbd asks the OSDs about every data object, since images have no object map (dom0's kernel knows none). It is asked
slice by slice, so that it can be given up in time.
"""

from __future__ import annotations

import base64
import errno
import time
from typing import Any, Callable, Optional

import rbd

from volumes import images, snapshots
from volumes.errors import ServiceError, has_errno
from volumes.pool import Pool

BLOCK_BYTES = 64 * 1024
SLICE_BYTES = 4 << 30
USAGE_TIMEOUT_S = 11.0
CHANGES_TIMEOUT_S = 28.0

Extent = Callable[[int, int, bool], None]


def changed(pool: Pool, older: Optional[str], newer: str) -> dict[str, Any]:
    """A bitmap of the blocks of `newer` (a snapshot's location or a volume) that differ from `older`, or, if that is
    None, that hold data at all. The first block is the highest bit of the first byte.
    """
    image_id, snap = _resolve(pool, newer)
    older_snap = None
    if older is not None:
        older_id, older_snap = _resolve(pool, older)
        if older_id != image_id:
            raise _no_common_history(older, newer)
    with rbd.Image(pool.ioctx, image_id=image_id, snapshot=snap, read_only=True) as image:
        size_bytes = image.size()
        bitmap = bytearray((-(-size_bytes // BLOCK_BYTES) + 7) // 8)

        def mark(offset: int, length: int, _: bool) -> None:  # noqa: FBT001 - librbd's signature
            for block in range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)):
                bitmap[block >> 3] |= 0x80 >> (block & 7)

        try:
            _diff(image, size_bytes, older_snap, mark, timeout_s=CHANGES_TIMEOUT_S, parents_too=True)
        except rbd.Error as error:
            if older is not None and has_errno(error, errno.EINVAL):  # what librbd says when `older` is the younger one
                raise _no_common_history(older, newer) from error
            raise
    return {"bitmap": base64.b64encode(bytes(bitmap)).decode(), "block_bytes": BLOCK_BYTES, "size_bytes": size_bytes}


def used(pool: Pool, of: str) -> dict[str, Any]:
    """Bytes that the image itself holds; what it reads from a parent is the parent's."""
    image_id, snap = _resolve(pool, of)
    total = 0

    def add(_: int, length: int, there: bool) -> None:  # noqa: FBT001 - librbd's signature
        nonlocal total
        total += length if there else 0

    with rbd.Image(pool.ioctx, image_id=image_id, snapshot=snap, read_only=True) as image:
        _diff(image, image.size(), None, add, timeout_s=USAGE_TIMEOUT_S, parents_too=False)
    return {"used_bytes": total}


def _resolve(pool: Pool, what: str) -> tuple[str, Optional[str]]:
    """Image id and name of the RBD snapshot, None for the volume as it is now."""
    image_id, _, snapshot_id = what.partition("@")
    if not snapshot_id:
        return images.get(pool, what).image_id, None
    return image_id, snapshots.locate(pool, image_id, snapshot_id).snapshot.name


def _no_common_history(older: str, newer: str) -> ServiceError:
    message = f"{newer} did not come of {older} on one image: there is nothing to compare block by block"
    return ServiceError(409, "no_common_history", message)


def _diff(
    image: Any, size_bytes: int, older_snap: Optional[str], extent: Extent, *, timeout_s: float, parents_too: bool
) -> None:
    end = time.monotonic() + timeout_s
    for start in range(0, size_bytes, SLICE_BYTES):
        if time.monotonic() > end:
            raise ServiceError(504, "timeout", f"comparing: {start} of {size_bytes} bytes within {timeout_s:g} s")
        length = min(SLICE_BYTES, size_bytes - start)
        image.diff_iterate(start, length, older_snap, extent, include_parent=parents_too, whole_object=False)
