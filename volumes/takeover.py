"""A new image takes a volume's place: what a revert and a reset end with.

The directory changes in one step, so the volume is always there, with the old content or with the new. The new image
carries a mark from before that step until everything that follows from it is done; whoever meets the mark does it.
"""

from __future__ import annotations

from volumes import directory, header, holders
from volumes.errors import in_use
from volumes.header import Header
from volumes.names import TAKES_OVER_MARK, new_name, volume_name
from volumes.pool import Pool


def run(pool: Pool, volume_id: str, old: Header, new: Header) -> None:
    """`new` is named new-<volume> and carries the mark."""
    holders.refuse_if_held(pool, old.image_id, f"volume {volume_id}")
    replaced = directory.replace(pool.ioctx, volume_id, old.image_id, new.image_id)
    if not replaced and not is_done(pool, volume_id, new):  # done: by the sweep, or by a repeat of this request
        raise in_use(f"volume {volume_id} is being deleted or reverted by another request")
    finish(pool, volume_id, new)


def finish(pool: Pool, volume_id: str, new: Header) -> None:
    """What follows from the change in the directory. May be repeated, and late: an image that yet another has replaced
    since must not get the name back.
    """
    old_id = new.metadata.get(TAKES_OVER_MARK)
    if old_id is None or not is_done(pool, volume_id, new):  # None: a copy of this request has finished it already
        return
    directory.follow_replaced(pool.ioctx, volume_id, old_id, new.image_id)
    header.write_metadata(pool.ioctx, new.image_id, {TAKES_OVER_MARK: None})
    pool.sweep_later(old_id)


def discard(pool: Pool, volume_id: str, image_id: str) -> None:
    """Undo: the image that was to take over goes the way of a deleted volume."""
    directory.rename(pool.ioctx, image_id, new_name(volume_id), f"base-{image_id}")
    pool.sweep_later(image_id)


def is_done(pool: Pool, volume_id: str, new: Header) -> bool:
    """Whether the image has its place already and only what follows is missing."""
    return directory.find_name(pool.ioctx, new.image_id) == volume_name(volume_id)
