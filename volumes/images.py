"""What can be done with one volume: an RBD image `vdi-<id>` in a pool, with the driver's metadata in its header.

Each function may be repeated after any crash, here or by another service, and ends in the same state. It must not know
of HTTP.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import Any, Optional

import rados

from volumes import directory, header, holders, members, takeover
from volumes.errors import ServiceError, exists, has_errno, in_use, not_found
from volumes.header import Header
from volumes.names import (
    HALF_MADE_MARK,
    REMOVED_MARK,
    RESET_POINT,
    ROLLS_BACK_MARK,
    TAKES_OVER_MARK,
    VOLUME_MARK,
    base_name,
    drivers_keys,
    volume_name,
)
from volumes.pool import Pool

log = logging.getLogger("volumes")


def describe(volume_id: str, found: Header) -> dict[str, Any]:
    return {"id": volume_id, "size_bytes": found.size_bytes, "metadata": drivers_keys(found.metadata)}


def create(
    pool: Pool, volume_id: str, size_bytes: int, metadata: dict[str, Optional[str]], data_pool: Optional[str] = None
) -> dict[str, Any]:
    """Make the volume; one of that id and size that is there already is the answer as well.

    First the name, then the header: one that was cut short after its name is finished under the id that it has got.
    The name stays also where there is no space for more: another may be making the volume at this moment.
    """
    data_pool_id = None if data_pool is None else _checked_data_pool(pool, data_pool)
    kept = {key: value for key, value in metadata.items() if value is not None}
    name = volume_name(volume_id)
    image_id = directory.claim(pool.ioctx, name)
    try:
        header.create(pool.ioctx, image_id, size_bytes, {**kept, VOLUME_MARK: volume_id}, data_pool_id)
    except rados.ObjectExists:
        _refuse_other_size(pool, volume_id, size_bytes)
        header.write_metadata(pool.ioctx, image_id, metadata)
    else:
        check_name(pool, image_id, name)
    return {"id": volume_id, "size_bytes": size_bytes, "metadata": kept}


def check_name(pool: Pool, image_id: str, name: str) -> None:
    """Refuse an image that was made just now and has lost its name since: its maker stood still, and others have
    deleted it. Nobody else would find it any more, so it goes to the trash.
    """
    if directory.find_id(pool.ioctx, name) == image_id:
        return
    if directory.find_name(pool.ioctx, image_id) is None:
        with contextlib.suppress(rados.ObjectNotFound):
            header.write_metadata(pool.ioctx, image_id, {REMOVED_MARK: "1"})
            directory.move_to_trash(pool.ioctx, image_id, base_name(image_id))
    pool.sweep_later(image_id)
    raise in_use(f"{name} was deleted while it was made")


def _refuse_other_size(pool: Pool, volume_id: str, size_bytes: int) -> None:
    found = find(pool, volume_id)
    if found is None:
        raise exists(f"volume {volume_id} is being made by a clone or deleted")
    if found.size_bytes != size_bytes:
        raise exists(f"volume {volume_id} exists with {found.size_bytes} bytes, not {size_bytes}")


def _checked_data_pool(pool: Pool, name: str) -> int:
    """Its id. A pool that cannot be written to piece by piece (erasure coded, without overwrites) is refused now."""
    pool_id = pool.find_data_pool(name)
    ioctx = pool.data_of(pool_id)
    try:
        ioctx.write_full("shoal.overwrite", b"00")
        ioctx.write("shoal.overwrite", b"1", 0)
    except (rados.Error, OSError) as error:
        if not has_errno(error, errno.EOPNOTSUPP):
            raise
        message = f"pool {name} cannot hold the data of a volume ({error}); is allow_ec_overwrites set?"
        raise ServiceError(400, "bad_request", message) from error
    return pool_id


def stat(pool: Pool, volume_id: str) -> dict[str, Any]:
    return describe(volume_id, get(pool, volume_id))


def get(pool: Pool, volume_id: str) -> Header:
    found = find(pool, volume_id)
    if found is None:
        raise not_found(f"volume {volume_id}")
    return found


def is_half_reset(found: Header) -> bool:
    """Whether going back in place was cut short: what it holds now was never on the disk at one moment."""
    return ROLLS_BACK_MARK in found.metadata and RESET_POINT in found.snapshots


def refuse_half_reset(volume_id: str, found: Header) -> None:
    if is_half_reset(found):
        raise in_use(
            f"volume {volume_id} is half-way back to its reset point: a reset was cut short. The next start of its VM"
            " takes it there, whatever its on_boot is by then"
        )


def find(pool: Pool, volume_id: str) -> Optional[Header]:
    """The header of the volume's image, if it is whole. A take-over that was cut short is finished first: until then
    the kernel would map the old image under this name.
    """
    image_id = directory.find_id(pool.ioctx, volume_name(volume_id))
    found = header.read(pool.ioctx, image_id) if image_id else None
    if found is None or HALF_MADE_MARK in found.metadata:
        return None
    if TAKES_OVER_MARK in found.metadata:
        takeover.finish(pool, volume_id, found)
    return found


def write_metadata(pool: Pool, volume_id: str, values: dict[str, Optional[str]]) -> dict[str, Any]:
    found = get(pool, volume_id)
    header.write_metadata(pool.ioctx, found.image_id, values)
    return stat(pool, volume_id)


def resize(pool: Pool, volume_id: str, size_bytes: int) -> dict[str, Any]:
    """Grow the volume, also while it is held. The size that it has already is success; a smaller one is refused."""
    found = get(pool, volume_id)
    if size_bytes < found.size_bytes:
        message = f"volume {volume_id} has {found.size_bytes} bytes and cannot shrink to {size_bytes}"
        raise ServiceError(409, "shrink", message)
    is_done = size_bytes == found.size_bytes or header.grow(pool.ioctx, found.image_id, found.size_bytes, size_bytes)
    if not is_done and get(pool, volume_id).size_bytes != size_bytes:  # else a copy of this request was quicker
        raise ServiceError(409, "in_use", f"volume {volume_id} is being resized by another request")
    # Also when the size was right: whoever set it may have died before it told anybody.
    if holders.notice_change(pool.ioctx, found.image_id).silent:
        log.warning("volume %s: a holder has not answered that it has seen the new size", volume_id)
    return {**describe(volume_id, found), "size_bytes": size_bytes}


def remove(pool: Pool, volume_id: str) -> dict[str, Any]:
    """Take its name away; the sweeper does the rest. One that is not there is success."""
    name = volume_name(volume_id)
    image_id = directory.find_id(pool.ioctx, name)
    if image_id is None:
        left = directory.read_id_object(pool.ioctx, name)
        if left is not None and directory.find_id(pool.ioctx, name) is None:  # else it is being made anew
            directory.remove_id_object(pool.ioctx, name, left)
        return {"id": volume_id, "removed": False}
    try:
        holders.refuse_if_held(pool, image_id, f"volume {volume_id}")
    except rados.ObjectNotFound:
        log.info("volume %s has no header: half made", volume_id)
    try:
        directory.rename(pool.ioctx, image_id, name, base_name(image_id))
    except (rados.Error, OSError):
        now = directory.find_id(pool.ioctx, name)
        if now == image_id:
            raise
        if now is not None:
            raise in_use(f"volume {volume_id} is being reverted by another request") from None
    pool.sweep_later(image_id)  # also if a copy of this request was quicker
    return {"id": volume_id, "removed": True}


def read_holders(pool: Pool, volume_id: str) -> dict[str, Any]:
    found = get(pool, volume_id)
    held = holders.read(pool.ioctx, found.image_id)
    quorum = members.read_quorum(pool.monitors)  # whoever is about to map it may choose a monitor by that
    return {"id": volume_id, "image_id": found.image_id, "half_reset": is_half_reset(found), "quorum": quorum, **held}
