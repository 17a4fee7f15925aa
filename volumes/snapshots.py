"""Snapshots: RBD snapshots `snap-<uuid>` with an entry in the header of the image that they were taken of.

Both are written in one step. A snapshot is there when its entry no longer says that it is being taken: from then on
no copy of the request that comes late changes anything. Removing the entry removes the snapshot, in one step; the
sweeper does the rest. Its location, `<image id>@<uuid>`, stays right when the image is renamed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import time
from dataclasses import dataclass
from typing import Any, Optional

import rados

from volumes import directory, header, holders, images
from volumes.errors import ServiceError, has_errno, in_use, not_found
from volumes.header import Header
from volumes.names import ENTRY_PREFIX, entry_key, location, snapshot_name, volume_name
from volumes.pool import Pool

TRIES = 5


@dataclass(frozen=True)
class Entry:
    """What the header says of a snapshot."""

    of: str
    made_at: float
    metadata: dict[str, str]
    is_pending: bool = False  # not every holder is known to write with the snapshot in mind

    def encode(self) -> str:
        value = {"of": self.of, "made_at": self.made_at, "metadata": self.metadata}
        return json.dumps({**value, "pending": True} if self.is_pending else value, sort_keys=True)


def decode_entry(text: str) -> Entry:
    """Raises ValueError or KeyError for what is none."""
    value = json.loads(text)
    try:
        metadata = dict(value["metadata"])
        return Entry(str(value["of"]), float(value["made_at"]), metadata, bool(value.get("pending")))
    except TypeError:
        raise ValueError("not the entry of a snapshot") from None


@dataclass(frozen=True)
class Located:
    """A snapshot that is there."""

    id: str
    image: Header
    snapshot: header.Snapshot
    entry: Entry

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "location": location(self.image.image_id, self.id),
            "of": self.entry.of,
            "size_bytes": self.snapshot.size_bytes,
            "metadata": self.entry.metadata,
        }


def all_of(image: Header) -> list[Located]:
    """The snapshots that an image has."""
    keys = [key[len(ENTRY_PREFIX) :] for key in image.metadata if key.startswith(ENTRY_PREFIX)]
    found = [_find(image, snapshot_id) for snapshot_id in keys]
    return [each for each in found if each is not None and not each.entry.is_pending]


def locate(pool: Pool, image_id: str, snapshot_id: str) -> Located:
    image = header.read(pool.ioctx, image_id)
    found = _find(image, snapshot_id) if image is not None else None
    if found is None or found.entry.is_pending:
        raise not_found(f"snapshot {location(image_id, snapshot_id)}")
    return found


def _find(image: Header, snapshot_id: str) -> Optional[Located]:
    """Also one that is being taken."""
    text = image.metadata.get(entry_key(snapshot_id))
    snapshot = image.snapshots.get(snapshot_name(snapshot_id))
    if text is None or snapshot is None:
        return None
    return Located(snapshot_id, image, snapshot, decode_entry(text))


def stat(pool: Pool, image_id: str, snapshot_id: str) -> dict[str, Any]:
    """With the names by which the kernel maps it."""
    found = locate(pool, image_id, snapshot_id)
    name = directory.find_name(pool.ioctx, image_id)
    if name is None:
        raise not_found(f"snapshot {location(image_id, snapshot_id)}: its image is in the trash")
    return {**found.describe(), "image": name, "snap": found.snapshot.name}


def take(pool: Pool, volume_id: str, snapshot_id: str, metadata: dict[str, Optional[str]]) -> dict[str, Any]:
    """Its entry says that it is being taken until each holder has answered. Whoever fails removes that entry only: a
    copy of the request may have finished the snapshot.
    """
    image = images.get(pool, volume_id)
    kept = {key: value for key, value in metadata.items() if value is not None}
    entry = Entry(volume_id, time.time(), kept, is_pending=True)
    found = _find(image, snapshot_id) or _begin(pool, image, snapshot_id, entry)
    if not found.entry.is_pending:
        return found.describe()
    key, pending = entry_key(snapshot_id), found.entry.encode()
    done = dataclasses.replace(found.entry, is_pending=False)
    try:
        images.refuse_half_reset(volume_id, found.image)
        if directory.find_id(pool.ioctx, volume_name(volume_id)) != image.image_id:
            # Deleted or reverted since; from now on whoever does that sees the entry.
            raise not_found(f"volume {volume_id} as it was: it has just been deleted or reverted")
        holders.settle(pool, image.image_id)
    except ServiceError:
        header.replace_metadata(pool.ioctx, image.image_id, key, pending, None)
        pool.sweep_later(image.image_id)
        raise
    if header.replace_metadata(pool.ioctx, image.image_id, key, pending, done.encode()):
        return dataclasses.replace(found, entry=done).describe()
    return locate(pool, image.image_id, snapshot_id).describe()  # a copy of this request was quicker


def _begin(pool: Pool, image: Header, snapshot_id: str, entry: Entry) -> Located:
    """The snapshot with its entry, or what a copy of this request has made."""
    add_to_image(pool, image, snapshot_name(snapshot_id), {entry_key(snapshot_id): entry.encode()})
    now = header.read(pool.ioctx, image.image_id)
    found = _find(now, snapshot_id) if now is not None else None
    if found is None:
        pool.sweep_later(image.image_id)
        raise in_use(f"a snapshot {snapshot_id} of volume {entry.of} was deleted and is being cleared up")
    return found


def take_of_image(pool: Pool, image: Header, name: str, metadata: Optional[dict[str, Optional[str]]] = None) -> None:
    """Add an RBD snapshot and wait until every holder writes with it in mind. One that is there is the answer, too."""
    add_to_image(pool, image, name, metadata or {})
    holders.settle(pool, image.image_id)


def add_to_image(pool: Pool, image: Header, name: str, metadata: dict[str, Optional[str]]) -> None:
    """An RBD snapshot, and metadata with it. Where there is one of that name, nothing is changed.

    As librbd does for images without exclusive lock (src/librbd/operation/SnapshotCreateRequest.cc): a number from the
    monitors, the header, the notice.
    """
    known: Optional[Header] = image
    for _ in range(TRIES):
        if known is None:
            raise not_found(f"image {image.image_id} any more")
        if name in known.snapshots:
            return
        snap_id = pool.new_snap_id(image.data_pool_id, known.last_snap_id)
        try:
            with contextlib.suppress(rados.ObjectExists):  # another request was quicker
                header.add_snapshot(pool.ioctx, image.image_id, name, snap_id, metadata)
        except (rados.Error, OSError) as error:
            if not has_errno(error, errno.ESTALE):
                raise
        else:
            return
        # One with a higher number was added in between. All numbers in hand may be lower than that.
        known = header.read(pool.ioctx, image.image_id)
    raise in_use(f"image {image.image_id}: others take snapshots of it all the time")


def write_metadata(pool: Pool, image_id: str, snapshot_id: str, values: dict[str, Optional[str]]) -> dict[str, Any]:
    for _ in range(TRIES):
        found = locate(pool, image_id, snapshot_id)
        merged = {**found.entry.metadata, **{key: value for key, value in values.items() if value is not None}}
        kept = {key: value for key, value in merged.items() if values.get(key, "") is not None}
        changed = Entry(found.entry.of, found.entry.made_at, kept)
        old = found.image.metadata[entry_key(snapshot_id)]
        if header.replace_metadata(pool.ioctx, image_id, entry_key(snapshot_id), old, changed.encode()):
            return Located(snapshot_id, found.image, found.snapshot, changed).describe()
    raise in_use(f"snapshot {location(image_id, snapshot_id)} is being changed by others")


def remove(pool: Pool, image_id: str, snapshot_id: str) -> dict[str, Any]:
    """Remove the entry. Children do not mind: the RBD snapshot stays for as long as they need it."""
    answer = {"id": snapshot_id, "location": location(image_id, snapshot_id)}
    image = header.read(pool.ioctx, image_id)
    if image is None or entry_key(snapshot_id) not in image.metadata:
        return {**answer, "removed": False}
    try:
        header.write_metadata(pool.ioctx, image_id, {entry_key(snapshot_id): None})
    except rados.ObjectNotFound:
        return {**answer, "removed": False}
    pool.sweep_later(image_id)
    return {**answer, "removed": snapshot_name(snapshot_id) in image.snapshots}


def read_holders(pool: Pool, image_id: str, snapshot_id: str) -> dict[str, Any]:
    """Whoever has the image open, be it for the snapshot or for another reason: Ceph cannot tell."""
    locate(pool, image_id, snapshot_id)
    return {"id": snapshot_id, **holders.read(pool.ioctx, image_id)}
