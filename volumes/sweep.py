"""Clears up after calls: finishes or undoes what was cut short, removes what nobody needs any more, frees the space.

Any service may do it, again and again; each step leaves something that the next look recognises. One image may free
another (its parent), so it goes on until there is nothing more to do. Images and snapshots of others are not touched.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import time
from collections.abc import Iterator
from typing import Callable, Optional

import rados
import rbd

from volumes import clones, directory, flatten, header, holders, snapshots, takeover
from volumes.errors import has_errno
from volumes.header import Header, Snapshot
from volumes.names import (
    BASE_PREFIX,
    CLONE_PREFIX,
    ENTRY_PREFIX,
    HALF_MADE_MARK,
    NEW_PREFIX,
    REMOVED_MARK,
    RESET_MARK,
    RESET_POINT,
    SNAPSHOT_PREFIX,
    TAKES_OVER_MARK,
    VOLUME_MARK,
    VOLUME_PREFIX,
    base_name,
    entry_key,
    snapshot_name,
    volume_name,
)
from volumes.pool import Pool

log = logging.getLogger("volumes")
HALF_MADE_AGE_S = 600.0  # no call takes that long: nobody is at it any more
FLATTEN_S = 20.0  # for each sweep


class Sweep:
    """One sweep of a pool. `go_on` is asked before each image; it renews the lock."""

    def __init__(self, pool: Pool, go_on: Callable[[], bool]) -> None:
        self._pool = pool
        self._ioctx = pool.ioctx
        self._go_on = go_on
        self._waiting: set[str] = set()
        self._headers: dict[str, Optional[Header]] = {}
        self._flatten_until = time.monotonic() + FLATTEN_S
        pool.sweep_later = self._waiting.add

    def run(self, dirty: set[str], *, whole: bool) -> None:
        """Look at those images, at all that are on their way out, and at every other one if `whole`."""
        names = directory.read_names(self._ioctx)
        trash = {entry["id"]: entry["name"] for entry in rbd.RBD().trash_list(self._ioctx)}
        volumes = {image_id for image_id, name in names.items() if name.startswith(VOLUME_PREFIX)}
        ours = {image_id for image_id, name in trash.items() if name == base_name(image_id)}
        self._waiting |= dirty | (set(names) - volumes) | ours | (set(names) if whole else set())
        self._look_at_all(names if whole else {}, trash)
        for image_id in self._too_deep(volumes) if whole else ():
            if self._go_on():
                with self._trouble_of(image_id):
                    self._shorten(image_id)
        self._look_at_all({}, trash)

    def _look_at_all(self, names: dict[str, str], trash: dict[str, str]) -> None:
        """At those that are waiting, and those that join them meanwhile."""
        while self._waiting and self._go_on():
            image_id = self._waiting.pop()
            self._look_at(image_id, names.pop(image_id, None), trash)

    def _look_at(self, image_id: str, name: Optional[str], trash: dict[str, str]) -> None:
        with self._trouble_of(image_id):
            if name is None or not name.startswith(VOLUME_PREFIX):
                name = directory.find_name(self._ioctx, image_id)  # it may have moved on since the names were read
            image = header.read(self._ioctx, image_id)
            self._headers[image_id] = image
            if name is None:
                self._settle_nameless(image_id, image, trash)
            elif name.startswith(BASE_PREFIX):
                self._settle_base(image_id, name, image)
            elif name.startswith(NEW_PREFIX):
                self._settle_new(image_id, name, image)
            elif name.startswith(VOLUME_PREFIX):
                self._settle_volume(image_id, name, image)

    @contextlib.contextmanager
    def _trouble_of(self, image_id: str) -> Iterator[None]:
        """One image that cannot be cleared up keeps no other from it."""
        try:
            yield
        except (rados.Error, rbd.Error, ValueError, KeyError) as error:
            if isinstance(error, rados.TimedOut) or has_errno(error, errno.ESHUTDOWN):
                raise  # that is Ceph, not this image
            log.warning("image %s is left for the next sweep: %s", image_id, error)

    def _settle_volume(self, image_id: str, name: str, image: Optional[Header]) -> None:
        if image is None or HALF_MADE_MARK in image.metadata:
            if self._age_s(name, image) > HALF_MADE_AGE_S:
                log.info("%s was never finished: removed", name)
                self._retire(image_id, name)
            return
        if TAKES_OVER_MARK in image.metadata:
            takeover.finish(self._pool, name[len(VOLUME_PREFIX) :], image)
        self._tidy(image, is_volume=True)

    def _settle_new(self, image_id: str, name: str, image: Optional[Header]) -> None:
        if self._age_s(name, image) > HALF_MADE_AGE_S:
            log.info("%s never took over: removed", name)
            self._retire(image_id, name)

    def _settle_base(self, image_id: str, name: str, image: Optional[Header]) -> None:
        if image is None:
            directory.forget(self._ioctx, image_id, name)
            return
        volume_id = image.metadata.get(VOLUME_MARK)
        if volume_id is not None:
            directory.remove_id_object(self._ioctx, volume_name(volume_id), image_id)
            directory.remove_id_object(self._ioctx, NEW_PREFIX + volume_id, image_id)
        if directory.read_id_object(self._ioctx, name) is None:
            directory.write_id_object(self._ioctx, name, image_id)
        image = self._tidy(image, is_volume=False)
        # A reset point that a volume comes back to is cloned again and again.
        if image is None or RESET_POINT in image.snapshots or any(k.startswith(ENTRY_PREFIX) for k in image.metadata):
            return
        header.write_metadata(self._ioctx, image_id, {REMOVED_MARK: "1"})
        directory.move_to_trash(self._ioctx, image_id, name)
        self._waiting.add(image_id)  # a new look, now that whoever clones it can see the mark

    def _settle_nameless(self, image_id: str, image: Optional[Header], trash: dict[str, str]) -> None:
        if image is None:
            if trash.get(image_id) == base_name(image_id):
                self._free(image_id)
            return
        if REMOVED_MARK in image.metadata:
            directory.remove_id_object(self._ioctx, base_name(image_id), image_id)
            image = self._tidy(image, is_volume=False)
            if image is not None:
                self._purge(image)

    def _age_s(self, name: str, image: Optional[Header]) -> float:
        if image is not None and HALF_MADE_MARK in image.metadata:
            return time.time() - float(json.loads(image.metadata[HALF_MADE_MARK])["made_at"])
        return directory.age_s(self._ioctx, name)

    def _retire(self, image_id: str, name: str) -> None:
        directory.rename(self._ioctx, image_id, name, base_name(image_id))
        self._waiting.add(image_id)

    def _purge(self, image: Header) -> None:
        if not image.snapshots:
            self._free(image.image_id)
            if image.parent is not None:
                self._waiting.add(image.parent.image_id)

    def _free(self, image_id: str) -> None:
        """Remove the data. librbd also takes it off its parent's list, and off the trash's."""
        with contextlib.suppress(rbd.ImageNotFound):
            rbd.RBD().trash_remove(self._ioctx, image_id, force=True)

    def _tidy(self, image: Header, *, is_volume: bool) -> Optional[Header]:
        """Remove entries of snapshots cut short, and RBD snapshots that nobody needs; the header after that."""
        before = image
        stale = [
            (key, text)
            for key, text in image.metadata.items()
            if key.startswith(ENTRY_PREFIX) and _is_cut_short(image, key, text)
        ]
        for key, text in stale:
            header.replace_metadata(self._ioctx, image.image_id, key, text, None)
        unneeded = [each for each in image.snapshots.values() if self._is_unneeded(image, each, is_volume=is_volume)]
        gone = [each for each in unneeded if self._is_childless(image, each) and self._remove_snapshot(image, each)]
        if gone:
            holders.notice_change(self._ioctx, image.image_id)
            flatten.let_go_of_parent(self._pool, before)
        return header.read(self._ioctx, image.image_id) if gone or stale else image

    def _is_unneeded(self, image: Header, snapshot: Snapshot, *, is_volume: bool) -> bool:
        """Apart from children. A new look at the header where it could have changed since the snapshot was seen."""
        name = snapshot.name
        if snapshot.in_trash:
            return True
        if name.startswith(SNAPSHOT_PREFIX):
            key = entry_key(name[len(SNAPSHOT_PREFIX) :])
            if key in image.metadata:
                return False
            again = header.read(self._ioctx, image.image_id)
            return again is not None and key not in again.metadata
        if name.startswith(CLONE_PREFIX):
            volume = volume_name(name[len(CLONE_PREFIX) :])
            image_id = directory.find_id(self._ioctx, volume)
            clone = header.read(self._ioctx, image_id) if image_id else None
            return clone is None or HALF_MADE_MARK not in clone.metadata
        return name == RESET_POINT and not is_volume

    def _is_childless(self, image: Header, snapshot: Snapshot) -> bool:
        """Children that never came to be, or that have let go without its being noted here, are struck off."""
        real = 0
        for child in snapshot.children:
            if (child.pool_id, child.namespace) != (self._pool.id, self._pool.namespace):
                real += 1
                continue
            found = header.read(self._ioctx, child.image_id)
            parent = found.parent if found is not None else None
            is_child = parent is not None and (parent.image_id, parent.snap_id) == (image.image_id, snapshot.id)
            if is_child or (found is not None and HALF_MADE_MARK in found.metadata):
                real += 1
                continue
            with contextlib.suppress(rados.ObjectNotFound):
                header.detach_child(self._ioctx, image.image_id, snapshot.id, child)
        return real == 0

    def _remove_snapshot(self, image: Header, snapshot: Snapshot) -> bool:
        """In librbd's order (src/librbd/operation/SnapshotRemoveRequest.cc): no more children, then the number back
        to the monitors, which frees the space, then off the header.
        """
        if not snapshot.in_trash:
            with contextlib.suppress(rados.ObjectExists):
                header.trash_snapshot(self._ioctx, image.image_id, snapshot.id)
        now = header.read(self._ioctx, image.image_id)
        found = [each for each in now.snapshots.values() if each.id == snapshot.id] if now is not None else []
        if not found or found[0].children:
            return False
        with contextlib.suppress(rados.ObjectNotFound):
            self._pool.data_of(image.data_pool_id).remove_self_managed_snap(snapshot.id)
        with contextlib.suppress(rados.ObjectNotFound):
            header.remove_snapshot(self._ioctx, image.image_id, snapshot.id)
        return True

    def _too_deep(self, volumes: set[str]) -> list[str]:
        found = []
        for image_id in volumes:
            image = self._headers.get(image_id)
            # A volume with a reset point elsewhere must stay its clone, and one that has it itself as it is.
            if image is None or image.parent is None or RESET_MARK in image.metadata or RESET_POINT in image.snapshots:
                continue
            try:
                if clones.depth(self._pool, image, read=self._known) > clones.DEPTH_SOFT:
                    found.append(image_id)
            except ValueError as error:
                log.warning("image %s: a parent's header cannot be read: %s", image_id, error)
        return found

    def _known(self, image_id: str) -> Optional[Header]:
        if image_id not in self._headers:
            self._headers[image_id] = header.read(self._ioctx, image_id)
        return self._headers[image_id]

    def _shorten(self, image_id: str) -> None:
        left_s = self._flatten_until - time.monotonic()
        image = header.read(self._ioctx, image_id)
        if left_s <= 0 or image is None or holders.notice_change(self._ioctx, image_id).holders:
            return
        done = flatten.flatten(self._pool, image, left_s)
        log.info("image %s has too many parents: %s", image_id, "flattened" if done else "flattening goes on later")


def _is_cut_short(image: Header, key: str, text: str) -> bool:
    """Whether a snapshot was begun long ago and never finished."""
    entry = snapshots.decode_entry(text)
    is_there = snapshot_name(key[len(ENTRY_PREFIX) :]) in image.snapshots and not entry.is_pending
    return not is_there and time.time() - entry.made_at > HALF_MADE_AGE_S
