"""Which blocks differ between two snapshots of one image, and how much of an image is really there.

librbd asks the OSDs about every data object, since images have no object map (dom0's kernel knows none). It is asked
slice by slice, so that it can be given up in time.

Of a clone that is not enough: an object that came to be after the older snapshot hides what the parent has there, and
librbd tells only what the object itself holds. A kernel may trim by making an empty one (an older one without first
copying what was there): a change that librbd does not see. So which objects there were is asked as well.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Any, Callable, Optional

import rados
import rbd

from volumes import header, images, snapshots
from volumes.errors import ServiceError, has_errno
from volumes.header import Header
from volumes.pool import Pool

BLOCK_BYTES = 64 * 1024
SLICE_BYTES = 4 << 30
OBJECTS_AT_ONCE = 256
USAGE_TIMEOUT_S = 11.0
CHANGES_TIMEOUT_S = 28.0
TOO_LONG = "too_long"  # another service would not be quicker

Extent = Callable[[int, int, bool], None]


def changed(pool: Pool, older: Optional[str], newer: str) -> dict[str, Any]:
    """A bitmap of the blocks of `newer` (a snapshot's location or a volume) that differ from `older`, or, if that is
    None, that hold data at all. The first block is the highest bit of the first byte.
    """
    now, snap = _resolve(pool, newer)
    past = None
    if older is not None:
        past_image, past = _resolve(pool, older)
        if past_image.image_id != now.image_id:
            raise _no_common_history(older, newer)
    end = time.monotonic() + CHANGES_TIMEOUT_S
    with rbd.Image(pool.ioctx, image_id=now.image_id, snapshot=_name(snap), read_only=True) as image:
        size_bytes = image.size()
        bitmap = bytearray((-(-size_bytes // BLOCK_BYTES) + 7) // 8)

        def mark(offset: int, length: int, _: object = None) -> None:
            for block in range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)):
                bitmap[block >> 3] |= 0x80 >> (block & 7)

        try:
            _diff(image, size_bytes, _name(past), mark, end, parents_too=True)
        except rbd.Error as error:
            if older is not None and has_errno(error, errno.EINVAL):  # what librbd says when `older` is the younger one
                raise _no_common_history(older, newer) from error
            raise
    if past is not None:
        object_bytes = 1 << now.order
        for number in _came_or_gone(pool, now, past, snap, end):
            start = number * object_bytes
            mark(start, min(object_bytes, size_bytes - start))
    return {"bitmap": base64.b64encode(bytes(bitmap)).decode(), "block_bytes": BLOCK_BYTES, "size_bytes": size_bytes}


def _came_or_gone(
    pool: Pool, image: Header, past: header.Snapshot, snap: Optional[header.Snapshot], end: float
) -> Iterator[int]:
    """Numbers of the data objects that are there at one of the two moments only, where the image had a parent."""
    count = -(-min(past.overlap_bytes or 0, past.size_bytes) // (1 << image.order))
    with contextlib.ExitStack() as opened:
        before, after = (
            opened.enter_context(pool.data_as_of(image.data_pool_id, snap_id))
            for snap_id in (past.id, None if snap is None else snap.id)
        )
        for start in range(0, count, OBJECTS_AT_ONCE):
            _check_time(start, count, "objects", end)
            numbers = range(start, min(start + OBJECTS_AT_ONCE, count))
            yield from sorted(_present(before, image, numbers) ^ _present(after, image, numbers))


def _present(data: Any, image: Header, numbers: range) -> set[int]:
    asked = {number: data.aio_stat(f"{image.object_prefix}.{number:016x}", _ignore) for number in numbers}
    found = set()
    for number, completion in asked.items():
        completion.wait_for_complete()
        code = -completion.get_return_value()
        if code not in (0, errno.ENOENT):
            raise rados.Error(f"image {image.image_id}: object {number}", errno=code)
        if code == 0:
            found.add(number)
    return found


def _ignore(*_: Any) -> None:
    """The answers are waited for."""


def used(pool: Pool, of: str) -> dict[str, Any]:
    """Bytes that the image itself holds; what it reads from a parent is the parent's."""
    found, snap = _resolve(pool, of)
    total = 0

    def add(_: int, length: int, there: bool) -> None:  # noqa: FBT001 - librbd's signature
        nonlocal total
        total += length if there else 0

    end = time.monotonic() + USAGE_TIMEOUT_S
    with rbd.Image(pool.ioctx, image_id=found.image_id, snapshot=_name(snap), read_only=True) as image:
        _diff(image, image.size(), None, add, end, parents_too=False)
    return {"used_bytes": total}


def _resolve(pool: Pool, what: str) -> tuple[Header, Optional[header.Snapshot]]:
    """The image, and the RBD snapshot, None for the volume as it is now."""
    image_id, _, snapshot_id = what.partition("@")
    if not snapshot_id:
        return images.get(pool, what), None
    located = snapshots.locate(pool, image_id, snapshot_id)
    return located.image, located.snapshot


def _name(snapshot: Optional[header.Snapshot]) -> Optional[str]:
    return None if snapshot is None else snapshot.name


def _no_common_history(older: str, newer: str) -> ServiceError:
    message = f"{newer} did not come of {older} on one image: there is nothing to compare block by block"
    return ServiceError(409, "no_common_history", message)


def _diff(
    image: Any, size_bytes: int, older_snap: Optional[str], extent: Extent, end: float, *, parents_too: bool
) -> None:
    for start in range(0, size_bytes, SLICE_BYTES):
        _check_time(start, size_bytes, "bytes", end)
        length = min(SLICE_BYTES, size_bytes - start)
        image.diff_iterate(start, length, older_snap, extent, include_parent=parents_too, whole_object=False)


def _check_time(done: int, of: int, what: str, end: float) -> None:
    if time.monotonic() > end:
        message = f"comparing took too long: {done} of {of} {what} were looked at in time; a full backup does without"
        raise ServiceError(504, TOO_LONG, message)
