"""Clones: images whose unwritten parts are read from a snapshot of another image (RBD's "clone v2").

The order, so that nothing is lost whenever it is cut short: the child's name and header with a mark that it is half
made; the snapshot, if a volume is cloned; the child in the parent's header, which keeps the snapshot from then on; the
parent in the child's header, and with it the mark's end. Sources in Ceph: src/librbd/image/CloneRequest.cc,
AttachChildRequest.cc.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

import rados

from volumes import directory, header, images, snapshots
from volumes.errors import exists, in_use, not_found, too_deep
from volumes.header import Child, Header, Parent
from volumes.names import (
    CLONE_PREFIX,
    HALF_MADE_MARK,
    REMOVED_MARK,
    RESET_MARK,
    SOURCE_MARK,
    VOLUME_MARK,
    drivers_keys,
    volume_name,
)
from volumes.pool import Pool

DEPTH_SOFT = 6  # the sweeper shortens what is deeper
DEPTH_HARD = 14
DEPTH_OF_RESET = 16  # which the kernel follows; resets do not add up
TRIES = 5


@dataclass(frozen=True)
class Source:
    """The RBD snapshot to clone: of which image, under which name."""

    label: str  # as the caller names it
    image: Header
    snap: str


def clone(pool: Pool, volume_id: str, source: str, metadata: dict[str, Optional[str]]) -> dict[str, Any]:
    """A volume with the content of another volume, or of a snapshot `<image id>@<uuid>`."""
    kept = {key: value for key, value in metadata.items() if value is not None}
    done = _find_done(pool, volume_id, source)
    if done is not None:
        header.write_metadata(pool.ioctx, done.image_id, metadata)
        return {**images.describe(volume_id, done), "metadata": {**drivers_keys(done.metadata), **kept}}
    image_id, _, snapshot_id = source.partition("@")
    if snapshot_id:
        located = snapshots.locate(pool, image_id, snapshot_id)
        origin = Source(source, located.image, located.snapshot.name)
    else:
        origin = Source(source, images.get(pool, source), CLONE_PREFIX + volume_id)
        images.refuse_half_reset(source, origin.image)
    made = make(pool, volume_name(volume_id), origin, {**kept, VOLUME_MARK: volume_id, SOURCE_MARK: source})
    return images.describe(volume_id, made)


def _find_done(pool: Pool, volume_id: str, source: str) -> Optional[Header]:
    found = images.find(pool, volume_id)
    if found is not None and found.metadata.get(SOURCE_MARK) != source:
        raise exists(f"volume {volume_id} exists and is no clone of {source}")
    return found


def make(pool: Pool, name: str, source: Source, metadata: dict[str, str]) -> Header:
    """The clone `name` of that source, begun anew or finished. `metadata` are the marks that it is to have, too."""
    depth_max = DEPTH_OF_RESET if RESET_MARK in metadata else DEPTH_HARD
    if depth(pool, source.image, source.snap) + 1 > depth_max:
        raise too_deep(f"{source.label} is a clone of a clone, {depth_max} times over; copy it instead")
    image_id = directory.claim(pool.ioctx, name)
    begun = json.dumps({"made_at": time.time()})
    try:
        data_pool_id = source.image.data_pool_id
        header.create(pool.ioctx, image_id, source.image.size_bytes, {**metadata, HALF_MADE_MARK: begun}, data_pool_id)
    except rados.ObjectExists:
        found = header.read(pool.ioctx, image_id)
        if found is None or found.metadata.get(SOURCE_MARK) != metadata[SOURCE_MARK]:
            raise exists(f"{name} is being made of something else") from None
        if HALF_MADE_MARK not in found.metadata:
            return found
    try:
        _attach(pool, image_id, source)
    finally:
        images.check_name(pool, image_id, name)
    made = header.read(pool.ioctx, image_id)
    if made is None:
        raise in_use(f"{name} was deleted while it was made")
    return made


def _attach(pool: Pool, image_id: str, source: Source) -> None:
    origin = source.image
    if source.snap.startswith(CLONE_PREFIX):
        snapshots.take_of_image(pool, origin, source.snap)
        origin = header.read(pool.ioctx, origin.image_id) or origin
        images.refuse_half_reset(source.label, origin)
    snapshot = origin.snapshots.get(source.snap)
    if snapshot is None:
        raise not_found(f"source {source.label} any more")
    child = Child(pool.id, pool.namespace, image_id)
    try:
        header.attach_child(pool.ioctx, origin.image_id, snapshot.id, child)
    except rados.ObjectExists:
        pass
    except rados.ObjectNotFound:
        raise not_found(f"source {source.label} any more") from None
    kept = header.read(pool.ioctx, origin.image_id)
    if kept is None or REMOVED_MARK in kept.metadata:  # whoever sets that mark looks for children after it
        raise not_found(f"source {source.label} any more")
    parent = Parent(pool.id, pool.namespace, origin.image_id, snapshot.id, snapshot.size_bytes)
    for _ in range(TRIES):
        current = header.read(pool.ioctx, image_id)
        if current is None:
            raise in_use("the clone was deleted while it was made")
        if HALF_MADE_MARK not in current.metadata:
            return  # a copy of this request was quicker, and the clone may have been used since
        if header.attach_parent(pool.ioctx, current, parent, HALF_MADE_MARK):
            return
    raise in_use("the clone is being made by others")


def depth(pool: Pool, image: Header, snap: str = "", read: Optional[Callable[[str], Optional[Header]]] = None) -> int:
    """How many parents stand behind an image, or behind its snapshot of that name (or to be taken under it)."""
    look = read or (lambda image_id: header.read(pool.ioctx, image_id))
    found = 0
    snapshot = image.snapshots.get(snap)
    while True:
        above = image.parent
        if above is None or above.pool_id != pool.id or above.namespace != pool.namespace:
            return found
        if not (above.overlap_bytes is not None if snapshot is None else snapshot.has_parent):
            return found
        found += 1
        parent = look(above.image_id)
        if parent is None:
            return found
        snapshot = next((each for each in parent.snapshots.values() if each.id == above.snap_id), None)
        image = parent
