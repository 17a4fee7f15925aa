"""Back to an earlier content: to a snapshot, or to the reset point of a volume that forgets what a run has written.

Neither depends on the disk's size: a clone of the snapshot takes the volume's place. Where the kernel follows no more
parents, small disks go back in place, and large ones are flattened first. It must not know of HTTP.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any, Optional

import rados
import rbd

from volumes import clones, directory, header, holders, images, snapshots, takeover
from volumes.clones import Source
from volumes.errors import ServiceError, in_use, too_deep
from volumes.header import Header
from volumes.names import (
    RESET_MARK,
    RESET_POINT,
    ROLLS_BACK_MARK,
    SOURCE_MARK,
    TAKES_OVER_MARK,
    VOLUME_MARK,
    drivers_keys,
    location,
    new_name,
    volume_name,
)
from volumes.pool import Pool

IN_PLACE_MAX_BYTES = 32 << 30  # some 8,000 objects: seconds


def revert(pool: Pool, volume_id: str, image_id: str, snapshot_id: str) -> dict[str, Any]:
    current = images.get(pool, volume_id)
    located = snapshots.locate(pool, image_id, snapshot_id)
    source = Source(location(image_id, snapshot_id), located.image, located.snapshot.name)
    return _replace(pool, volume_id, current, source, {})


def make_reset_point(pool: Pool, volume_id: str) -> dict[str, Any]:
    """The content to come back to is the present one, unless there is such a point already."""
    current = images.get(pool, volume_id)
    if _reset_source(pool, current) is None:
        _take_reset_point(pool, volume_id, current)
    return {"id": volume_id, "reset_point": True}


def drop_reset_point(pool: Pool, volume_id: str) -> dict[str, Any]:
    """Where there is none, as with most volumes at each start and clone, this only looks."""
    current = images.get(pool, volume_id)
    if images.is_half_reset(current):
        reset(pool, volume_id)
        current = images.get(pool, volume_id)
    if RESET_MARK in current.metadata:
        header.write_metadata(pool.ioctx, current.image_id, {RESET_MARK: None})
    point = current.snapshots.get(RESET_POINT)
    if point is not None:
        with contextlib.suppress(rados.ObjectExists, rados.ObjectNotFound):  # another request was quicker
            header.trash_snapshot(pool.ioctx, current.image_id, point.id)
    if any(each.in_trash or each is point for each in current.snapshots.values()):
        pool.sweep_later(current.image_id)
    return {"id": volume_id, "reset_point": False}


def reset(pool: Pool, volume_id: str) -> dict[str, Any]:
    current = images.get(pool, volume_id)
    source = _reset_source(pool, current)
    if source is None:
        holders.refuse_if_held(pool, current.image_id, f"volume {volume_id}")
        _take_reset_point(pool, volume_id, current)
        return images.describe(volume_id, current)
    return _replace(pool, volume_id, current, source, {RESET_MARK: source.image.image_id})


def _take_reset_point(pool: Pool, volume_id: str, current: Header) -> None:
    """Not where the disk could not go back to it in time. Without such a point it is flattened in the background."""
    if current.size_bytes > IN_PLACE_MAX_BYTES and clones.depth(pool, current) >= clones.DEPTH_OF_RESET:
        raise too_deep(
            f"volume {volume_id} is a clone of a clone, {clones.DEPTH_OF_RESET} times over, and cannot be reset at boot"
            " before it is flattened, which goes on in the background while nobody has it open; until then it can be"
            " used with on_boot=persist"
        )
    snapshots.take_of_image(pool, current, RESET_POINT, {ROLLS_BACK_MARK: None})


def _reset_source(pool: Pool, current: Header) -> Optional[Source]:
    """The volume's own snapshot, or the one that it was cloned of when it was reset: so resets do not add up to a
    chain.
    """
    image: Optional[Header] = current
    if RESET_POINT not in current.snapshots:
        image_id = current.metadata.get(RESET_MARK)
        image = header.read(pool.ioctx, image_id) if image_id else None
    if image is None or RESET_POINT not in image.snapshots:
        return None
    return Source(location(image.image_id, RESET_POINT), image, RESET_POINT)


def _replace(pool: Pool, volume_id: str, current: Header, source: Source, marks: dict[str, str]) -> dict[str, Any]:
    marks = {
        **marks,
        VOLUME_MARK: volume_id,
        SOURCE_MARK: source.label,
        TAKES_OVER_MARK: current.image_id,
    }
    try:
        # If a copy of this request was quicker, the sweep may hold the image by now.
        holders.refuse_if_held(pool, current.image_id, f"volume {volume_id}")
        _discard_other(pool, volume_id, current, source)
        new = clones.make(pool, new_name(volume_id), source, {**drivers_keys(current.metadata), **marks})
        # For one left by a call cut short. A copy of this request may have been quicker, and the disk renamed since.
        known, named = (TAKES_OVER_MARK, current.image_id), {**drivers_keys(current.metadata)}
        is_ours = header.write_metadata_if(pool.ioctx, new.image_id, known, named)
        if not is_ours and not takeover.is_done(pool, volume_id, new):
            raise in_use(f"volume {volume_id} is being reverted by another request")
        takeover.run(pool, volume_id, current, new)
    except (ServiceError, rados.ObjectNotFound) as error:
        if getattr(error, "code", "") == "too_deep" and _can_go_back_in_place(current, source):
            return _roll_back(pool, volume_id, current, source)
        now = images.get(pool, volume_id)
        if now.image_id == current.image_id or now.metadata.get(SOURCE_MARK) != source.label:
            raise  # else a copy of this request was quicker; what ours has made is left to the sweep
    return images.stat(pool, volume_id)


def _discard_other(pool: Pool, volume_id: str, current: Header, source: Source) -> None:
    """An image that another revert, cut short, has left where ours goes."""
    left_id = directory.find_id(pool.ioctx, new_name(volume_id))
    if left_id is None:
        return
    left = header.read(pool.ioctx, left_id)
    marks = left.metadata if left is not None else {}
    wanted = (source.label, current.image_id)
    if left is None or (marks.get(SOURCE_MARK), marks.get(TAKES_OVER_MARK)) == wanted:
        return
    if directory.find_id(pool.ioctx, volume_name(volume_id)) != current.image_id:
        raise in_use(f"volume {volume_id} has just been deleted or reverted by another request")
    takeover.discard(pool, volume_id, left_id)


def _can_go_back_in_place(current: Header, source: Source) -> bool:
    """To a reset point of its own. Objects that were not there then are removed, so that their parent shows again: not
    if the image was flattened since.
    """
    if (source.snap, source.image.image_id) != (RESET_POINT, current.image_id):
        return False
    has_parent = current.parent is not None and current.parent.overlap_bytes is not None
    return has_parent or not source.image.snapshots[source.snap].has_parent


def _roll_back(pool: Pool, volume_id: str, current: Header, source: Source) -> dict[str, Any]:
    """In place, object by object: slow, but the chain grows no longer. Not for large disks (`_take_reset_point`).

    For resets only. From before the first object until after the last the image carries a mark, each request its own:
    whoever meets it later does not use the disk, and does not drop the point.
    """
    mark = uuid.uuid4().hex
    with rbd.Image(pool.ioctx, image_id=current.image_id) as image:
        image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)  # else a host may have it since, and nothing is to be marked
        now = header.read(pool.ioctx, current.image_id)
        there = now.snapshots.get(source.snap) if now is not None else None
        if there is None or there.id != source.image.snapshots[source.snap].id:
            raise in_use(f"volume {volume_id} has just been reset by another request")
        header.write_metadata(pool.ioctx, current.image_id, {ROLLS_BACK_MARK: mark})
        image.rollback_to_snap(source.snap)
    header.replace_metadata(pool.ioctx, current.image_id, ROLLS_BACK_MARK, mark, None)
    return images.stat(pool, volume_id)
