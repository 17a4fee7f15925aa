"""What can be done with one volume: an RBD image `vdi-<id>` in a pool, with Shoal's metadata in its header.

Each function may be repeated after any crash, here or by another service, and ends in the same state. Snapshots and
clones will be functions of this shape, too. It must not know of HTTP.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any, Optional

import rados
import rbd

from volumes import header
from volumes.errors import ServiceError, not_found
from volumes.listing import IMAGE_PREFIX

HALF_MADE_WAIT_S = 3.0
REMOVED_MARK = "removed"  # in the metadata of an image on its way out: only such images are purged


def image_name(volume_id: str) -> str:
    return IMAGE_PREFIX + volume_id


def create(ioctx: Any, volume_id: str, size_bytes: int, metadata: dict[str, Optional[str]]) -> dict[str, Any]:
    """Make the volume; one of that id and size that is there already is the answer as well."""
    name = image_name(volume_id)
    try:
        _create_image(ioctx, name, size_bytes)
    except rbd.ImageExists:
        found = _find_whole(ioctx, volume_id)
        if found is None:
            # A creation was cut short before the header was written.
            _clean_up(ioctx, name)
            _create_image(ioctx, name, size_bytes)
        elif found["size_bytes"] != size_bytes:
            message = f"volume {volume_id} exists with {found['size_bytes']} bytes, not {size_bytes}"
            raise ServiceError(409, "exists", message) from None
    image_id = header.find_id(ioctx, name)
    if image_id is None:
        raise not_found(f"volume {volume_id} any more: it was removed while it was made")
    header.write_metadata(ioctx, image_id, metadata)
    kept = {key: value for key, value in metadata.items() if value is not None}
    return {"id": volume_id, "size_bytes": size_bytes, "metadata": kept}


def _find_whole(ioctx: Any, volume_id: str) -> Optional[dict[str, Any]]:
    """The volume, given that its name is taken: another service may be making it at this very moment."""
    end = time.monotonic() + HALF_MADE_WAIT_S
    while True:
        found = _find(ioctx, volume_id)
        if found is not None or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _clean_up(ioctx: Any, name: str) -> None:
    try:
        rbd.RBD().remove(ioctx, name)
    except rbd.ImageNotFound:
        # Not even in the pool's directory: librbd does not see what its very first step has left.
        with contextlib.suppress(rados.ObjectNotFound):
            ioctx.remove_object(header.id_object(name))


def _create_image(ioctx: Any, name: str, size_bytes: int) -> None:
    # What the oldest dom0 kernel (4.19) can map: nothing beyond layering and exclusive-lock.
    features = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
    rbd.RBD().create(ioctx, name, size_bytes, old_format=False, features=features)


def stat(ioctx: Any, volume_id: str) -> dict[str, Any]:
    found = _find(ioctx, volume_id)
    if found is None:
        raise not_found(f"volume {volume_id}")
    return found


def _find(ioctx: Any, volume_id: str) -> Optional[dict[str, Any]]:
    image_id = header.find_id(ioctx, image_name(volume_id))
    if image_id is None:
        return None
    try:
        size = header.read_size(ioctx, image_id)
        metadata = header.read_metadata(ioctx, image_id)
    except rados.ObjectNotFound:
        return None
    return {"id": volume_id, "size_bytes": size, "metadata": metadata}


def write_metadata(ioctx: Any, volume_id: str, values: dict[str, Optional[str]]) -> dict[str, Any]:
    image_id = header.find_id(ioctx, image_name(volume_id))
    if image_id is None:
        raise not_found(f"volume {volume_id}")
    header.write_metadata(ioctx, image_id, values)
    return stat(ioctx, volume_id)


def resize(ioctx: Any, volume_id: str, size_bytes: int) -> dict[str, Any]:
    """Grow the volume. The size that it has already is success; a smaller one is refused."""
    found = stat(ioctx, volume_id)
    if size_bytes < found["size_bytes"]:
        message = f"volume {volume_id} has {found['size_bytes']} bytes and cannot shrink to {size_bytes}"
        raise ServiceError(409, "shrink", message)
    if size_bytes > found["size_bytes"]:
        _refuse_if_held(ioctx, volume_id)
        with rbd.Image(ioctx, image_name(volume_id)) as image:
            image.resize(size_bytes, allow_shrink=False)
    return {**found, "size_bytes": size_bytes}


def remove(ioctx: Any, volume_id: str) -> dict[str, Any]:
    """Move the image to the trash, from where `purge` frees its space. One that is not there is success."""
    name = image_name(volume_id)
    image_id = header.find_id(ioctx, name)
    if image_id is None:
        return {"id": volume_id, "removed": False}
    _refuse_if_held(ioctx, volume_id)
    try:
        header.write_metadata(ioctx, image_id, {REMOVED_MARK: "1"})
        rbd.RBD().trash_move(ioctx, name, 0)
    except (rados.ObjectNotFound, rbd.ImageNotFound):
        # Half made, or another service was quicker: in both cases nothing may remain.
        if header.find_id(ioctx, name) is not None:
            _clean_up(ioctx, name)
    return {"id": volume_id, "removed": True}


def holders(ioctx: Any, volume_id: str) -> dict[str, Any]:
    """Who has the volume open. A lock whose owner does not watch any more belongs to a client that is gone."""
    try:
        with rbd.Image(ioctx, image_name(volume_id), read_only=True) as image:
            locks = image.list_lockers() or {}
            watchers = list(image.watchers_list())
    except rbd.ImageNotFound:
        raise not_found(f"volume {volume_id}") from None
    watching = {f"client.{watcher['id']}" for watcher in watchers}
    lockers = [
        {"client": client, "cookie": cookie, "address": address, "alive": client in watching}
        for client, cookie, address in locks.get("lockers", [])
    ]
    return {
        "id": volume_id,
        "locks": lockers,
        "watchers": [{"client": f"client.{w['id']}", "address": w["addr"]} for w in watchers],
    }


def _refuse_if_held(ioctx: Any, volume_id: str) -> None:
    try:
        held = holders(ioctx, volume_id)
    except ServiceError as error:
        if error.code == "not_found":
            return
        raise
    addresses = sorted({watcher["address"] for watcher in held["watchers"]})
    if addresses:
        message = f"volume {volume_id} is in use by {', '.join(addresses)}"
        raise ServiceError(409, "in_use", message, holders=held)
