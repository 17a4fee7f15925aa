"""Makes a clone independent of its parent, without a lock: a host may map the image meanwhile and write to it.

librbd's flatten wants the exclusive lock, and would keep a VM from starting. What it does for each data object is a
call of the OSD's `rbd` class, `copyup`: write these data unless the object exists. The kernel and librbd make the same
call before their own first write to an object, so all of them may be at it at once; and nobody removes an object that
covers a parent's data.

It goes from the image's end to its start. How far it has come is no note beside the image, but what everybody reads by:
the overlap, the part of the image that has a parent at all. Sources in Ceph: src/cls/rbd/cls_rbd.cc (copyup, set_size),
src/librbd/io/CopyupRequest.cc.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import rados
import rbd

from volumes import header, holders
from volumes.header import Child, Header
from volumes.names import RESET_POINT
from volumes.pool import Pool

SLICE_OBJECTS = 256


def flatten(pool: Pool, image: Header, timeout_s: float) -> bool:
    """Go on with it for that long; whether it is done. The next call goes on from there. `image` was read just now."""
    parent = image.parent
    if parent is None or parent.overlap_bytes is None:
        return True
    if RESET_POINT in image.snapshots:
        # To go back to it in place removes objects that were written since, so that their parent shows again: a
        # flattened image has none.
        return False
    end = time.monotonic() + timeout_s
    with rbd.Image(pool.ioctx, image_id=image.image_id, read_only=True) as content:
        for reached_bytes in _copy_downwards(pool, image, content):
            if reached_bytes and time.monotonic() > end:
                header.lower_overlap(pool.ioctx, image, reached_bytes)  # if it cannot be, that much is looked at again
                return False
    return _detach(pool, image)


def _copy_downwards(pool: Pool, image: Header, content: Any) -> Iterator[int]:
    """Copy object by object; each time, from which byte on the image needs its parent no more."""
    assert image.parent is not None and image.parent.overlap_bytes is not None
    data = pool.data_of(image.data_pool_id)
    object_bytes = 1 << image.order
    covered = min(image.parent.overlap_bytes, content.size())
    for start in reversed(range(0, covered, SLICE_OBJECTS * object_bytes)):
        length = min(SLICE_OBJECTS * object_bytes, covered - start)
        for number in reversed(_numbers_with_data(content, start, length, object_bytes)):
            _copy_up(data, image, content, number)
            yield number * object_bytes
        yield start


def _numbers_with_data(content: Any, start: int, length: int, object_bytes: int) -> list[int]:
    """Of the data objects, those where the image or one of its parents has anything."""
    found: set[int] = set()

    def add(offset: int, extent_bytes: int, there: bool) -> None:  # noqa: FBT001 - librbd's signature
        if there:
            found.update(range(offset // object_bytes, -(-(offset + extent_bytes) // object_bytes)))

    content.diff_iterate(start, length, None, add, include_parent=True, whole_object=True)
    return sorted(found)


def _copy_up(data: Any, image: Header, content: Any, number: int) -> None:
    oid = f"{image.object_prefix}.{number:016x}"
    with contextlib.suppress(rados.ObjectNotFound):
        data.stat(oid)
        return
    object_bytes = 1 << image.order
    start = number * object_bytes
    parent = image.parent
    assert parent is not None and parent.overlap_bytes is not None
    length = min(object_bytes, parent.overlap_bytes - start, content.size() - start)
    value = content.read(start, length)
    if value.strip(b"\0"):
        data.execute(oid, "rbd", "copyup", value, 16)


def _detach(pool: Pool, image: Header) -> bool:
    """Not if there is a snapshot more than at the start: a reset point, and the image may be back at it already."""
    with contextlib.suppress(rados.ObjectNotFound):
        if not header.detach_parent(pool.ioctx, image):
            return False
    holders.notice_change(pool.ioctx, image.image_id)
    let_go_of_parent(pool, image)
    return True


def let_go_of_parent(pool: Pool, before: Header) -> None:
    """Tell the parent, once neither the image nor a snapshot of it reads from it any more."""
    now = header.read(pool.ioctx, before.image_id)
    if before.parent is None or (now is not None and now.parent is not None):
        return
    child = Child(pool.id, pool.namespace, before.image_id)
    with contextlib.suppress(rados.ObjectNotFound):
        header.detach_child(pool.ioctx, before.parent.image_id, before.parent.snap_id, child)
    pool.sweep_later(before.parent.image_id)
