"""A block device of a host, as dom0 sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of a disk, in bytes."""

    start_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    number: int
    device: str  # "/dev/sda3"; "" when the table has it and the kernel was not told
    range: Range
    name: str = ""  # GPT name (PARTLABEL)
    uuid: str = ""  # GPT unique id (PARTUUID), lower case
    contents: str | None = None  # what a signature says: "ext4", "LVM2_member", "ceph_bluestore"; None: nothing found
    in_use: str | None = None  # "mounted on /", "held by dm-0"; None: not in use


@dataclass(frozen=True, slots=True)
class Disk:
    device: str  # kernel name: "/dev/sda"
    links: tuple[str, ...]  # stable names: "/dev/disk/by-id/…"
    size_bytes: int
    sector_bytes: int = 512
    table: str | None = None  # "gpt", "dos" or None
    partitions: tuple[Partition, ...] = ()
    free: tuple[Range, ...] = ()  # unallocated ranges of a GPT, largest first
    contents: str | None = None  # a signature on the whole disk, other than the partition table
    in_use: str | None = None
