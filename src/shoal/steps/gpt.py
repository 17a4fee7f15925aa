"""A disk's GPT through sgdisk: reads its table, lays out a new partition, says how to make it. Pure: argv and text.

sgdisk, since it is in every dom0 in use; the sfdisk of a CentOS 7 userland knows no GPT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shoal.kit.errors import ShoalError
from shoal.kit.sizes import format_size

ALIGNMENT_BYTES = 1024**2
LINUX = "8300"
_ROW = re.compile(r"\s*(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+ \S+\s+([0-9A-F]{4})(?:\s+(.*?))?\s*")


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    first_sector: int
    last_sector: int
    name: str


@dataclass(frozen=True, slots=True)
class Table:
    sector_bytes: int
    entries: tuple[Entry, ...]

    def named(self, name: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.name == name), None)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Sectors, both ends included."""

    first: int
    last: int


def parse_table(text: str) -> Table:
    """What `sgdisk --print` says."""
    sector = re.search(r"^Sector size \(logical(?:/physical)?\): (\d+)|^Logical sector size: (\d+)", text, re.MULTILINE)
    if sector is None:
        raise ShoalError("sgdisk printed no table that can be read", details=text[-500:])
    rows = (_ROW.fullmatch(line) for line in text.splitlines())
    entries = tuple(Entry(int(row[1]), int(row[2]), int(row[3]), row[5] or "") for row in rows if row)
    return Table(int(sector[1] or sector[2]), entries)


def parse_largest(text: str) -> Stretch | None:
    """The last two lines that `sgdisk --first-in-largest --end-of-largest` says; None when nothing is free."""
    numbers = [int(line) if line.strip().isdigit() else 0 for line in text.split("\n") if line.strip()][-2:]
    if len(numbers) < 2 or numbers[0] == 0 or numbers[1] <= numbers[0]:
        return None
    return Stretch(numbers[0], numbers[1])


def lay_out(free: Stretch | None, sector_bytes: int, size_bytes: int | None) -> Stretch:
    """Where a partition goes in a free stretch: from its first aligned sector, `size_bytes` or to its end."""
    step = ALIGNMENT_BYTES // sector_bytes
    first = -(-free.first // step) * step if free else 0
    room = max((free.last + 1 - first) // step * step, 0) if free else 0
    wanted = room if size_bytes is None else -(-size_bytes // ALIGNMENT_BYTES) * step
    if room == 0 or wanted > room:
        largest = f"the largest free stretch has {format_size(room * sector_bytes)}" if room else "nothing is free"
        raise ShoalError(
            "there is not enough free space on the disk for the partition",
            details=largest if size_bytes is None else f"{format_size(size_bytes)} wanted, {largest}",
            resolution="Free some, or write a smaller `size`.",
        )
    return Stretch(first, first + wanted - 1)


def print_argv(device: str) -> list[str]:
    return ["sgdisk", "--print", device]


def largest_argv(device: str) -> list[str]:
    return ["sgdisk", "--first-in-largest", "--end-of-largest", device]


def create_argv(device: str, number: int, place: Stretch, name: str) -> list[str]:
    """One call, one write: the partition has its name from its first moment."""
    return [
        "sgdisk",
        f"--new={number}:{place.first}:{place.last}",
        f"--typecode={number}:{LINUX}",
        f"--change-name={number}:{name}",
        device,
    ]


def next_number(table: Table) -> int:
    used = {entry.number for entry in table.entries}
    return next(number for number in range(1, 129) if number not in used)


def partition_device(disk: str, number: int) -> str:
    """Kernel name of a disk's partition: sda3, nvme0n1p3."""
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"
