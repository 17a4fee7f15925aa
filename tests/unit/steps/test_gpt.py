"""The layout of a partition, against the real sgdisk on a real image file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shoal.kit.errors import ShoalError
from shoal.steps import gpt

MIB = 1024**2


def run(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.fixture
def disk(tmp_path: Path) -> str:
    """A 1 GiB disk whose first 100 MiB are a root area."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(1024 * MIB)
    run(["sgdisk", "--clear", "--new=1:1M:100M", "--change-name=1:root area", str(image)])
    return str(image)


def make(disk: str, name: str, size_bytes: int | None) -> gpt.Entry:
    table = gpt.parse_table(run(gpt.print_argv(disk)))
    free = gpt.parse_largest(run(gpt.largest_argv(disk)))
    place = gpt.lay_out(free, table.sector_bytes, size_bytes)
    run(gpt.create_argv(disk, gpt.next_number(table), place, name))
    made = gpt.parse_table(run(gpt.print_argv(disk))).named(name)
    assert made is not None
    return made


def test_a_partition_of_a_size_is_made_aligned_and_found_by_its_name(disk: str) -> None:
    made = make(disk, "shoal-osd-xen1-1", 200 * MIB)
    assert made.number == 2
    assert made.first_sector * 512 % MIB == 0
    assert (made.last_sector + 1 - made.first_sector) * 512 == 200 * MIB
    assert gpt.parse_table(run(gpt.print_argv(disk))).entries[0].name == "root area"


def test_without_a_size_it_takes_the_whole_free_stretch_and_then_nothing_is_left(disk: str) -> None:
    made = make(disk, "shoal-osd-xen1-1", None)
    assert 920 * MIB < (made.last_sector + 1 - made.first_sector) * 512 < 924 * MIB
    assert (made.last_sector + 1) * 512 % MIB == 0
    with pytest.raises(ShoalError) as error:
        make(disk, "shoal-osd-xen1-2", None)
    assert error.value.details == "nothing is free"


def test_too_large_a_size_is_refused_with_what_there_is(disk: str) -> None:
    with pytest.raises(ShoalError) as error:
        make(disk, "shoal-osd-xen1-1", 2048 * MIB)
    assert error.value.details.startswith("2 GiB wanted, the largest free stretch has 92")
    assert len(gpt.parse_table(run(gpt.print_argv(disk))).entries) == 1


def test_a_hole_between_numbers_is_used(disk: str) -> None:
    run(["sgdisk", "--new=3:300M:400M", disk])
    assert make(disk, "shoal-osd-xen1-1", 16 * MIB).number == 2


def test_sectors_of_4096_bytes_are_aligned_too() -> None:
    place = gpt.lay_out(gpt.Stretch(6, 100_000), 4096, 10 * MIB)
    assert place == gpt.Stretch(256, 256 + 2560 - 1)


@pytest.mark.parametrize(("disk", "device"), [("/dev/sda", "/dev/sda3"), ("/dev/nvme0n1", "/dev/nvme0n1p3")])
def test_kernel_names(disk: str, device: str) -> None:
    assert gpt.partition_device(disk, 3) == device
