"""What names mean: of images, of RBD snapshots, and of the entries in an image's metadata. Values only.

Whatever has another name belongs to somebody else and is never touched.
"""

from __future__ import annotations

VOLUME_PREFIX = "vdi-"  # vdi-<volume>: a volume
BASE_PREFIX = "base-"  # base-<image id>: what a deleted or reverted volume leaves; kept for its snapshots
NEW_PREFIX = "new-"  # new-<volume>: about to take that volume's place

SNAPSHOT_PREFIX = "snap-"  # snap-<uuid>: a snapshot
CLONE_PREFIX = "clone-"  # clone-<volume>: what that volume was cloned of, when it was cloned of another volume
RESET_POINT = "reset"

METADATA_PREFIX = "shoal."  # in the image's metadata; librbd's own settings start with conf_
# Under that prefix. A key without a dot is the driver's.
ENTRY_PREFIX = "snap."  # snap.<uuid>: the entry of a snapshot
VOLUME_MARK = "mark.volume"  # whose image it is or was
SOURCE_MARK = "mark.source"  # what it was cloned of
HALF_MADE_MARK = "mark.half_made"  # when its making began; gone once it is whole
TAKES_OVER_MARK = "mark.takes_over"  # the id of the image whose name it takes or has just taken
RESET_MARK = "mark.reset"  # the id of the image whose reset point it was cloned of
ROLLS_BACK_MARK = "mark.rolls_back"  # by which request; while it is there the image may be half-way to its reset point
REMOVED_MARK = "mark.removed"  # in the trash by our hand


def volume_name(volume_id: str) -> str:
    return VOLUME_PREFIX + volume_id


def base_name(image_id: str) -> str:
    return BASE_PREFIX + image_id


def new_name(volume_id: str) -> str:
    return NEW_PREFIX + volume_id


def snapshot_name(snapshot_id: str) -> str:
    return SNAPSHOT_PREFIX + snapshot_id


def entry_key(snapshot_id: str) -> str:
    return ENTRY_PREFIX + snapshot_id


def location(image_id: str, snapshot_id: str) -> str:
    return f"{image_id}@{snapshot_id}"


def is_ours(image_name: str) -> bool:
    return image_name.startswith((VOLUME_PREFIX, BASE_PREFIX, NEW_PREFIX))


def drivers_keys(metadata: dict[str, str]) -> dict[str, str]:
    """Of an image's metadata, what the driver has written."""
    return {key: value for key, value in metadata.items() if "." not in key}
