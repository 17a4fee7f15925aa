"""What is found on the witnesses' disks, of which the writer itself makes some."""

from __future__ import annotations

import struct
import subprocess
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from lab.images import witness
from tests.chaos.judge import Heard
from tests.chaos.proof import acknowledged, compare
from tests.chaos.records import RECORD_BYTES, survey

START_S = 10


def record(number: int, run: int = 1, run_first: int = 1) -> bytes:
    body = struct.pack("<8sQQQQQ", b"SHOALWIT", 7, number, 99, run, run_first).ljust(RECORD_BYTES - 4, b"x")
    return body + struct.pack("<I", zlib.crc32(body))


def records(numbers: range, run: int) -> bytes:
    """One start of the VM."""
    return b"".join(record(number, run, numbers.start) for number in numbers)


def found(disk: bytes) -> dict[str, Any]:
    whole = disk.ljust(4096 * RECORD_BYTES, b"\0")
    return survey(lambda offset, length: whole[offset : offset + length], len(whole))


def test_records_are_counted_as_far_as_all_are_valid() -> None:
    disk = records(range(1, 1501), run=1)
    assert found(disk) == {"highest": 1500, "last": 1500, "runs": [[1, 1, 1500]]}
    assert found(b"") == {"highest": 0, "last": 0, "runs": []}
    for place in (0, 40, RECORD_BYTES - 1):
        torn = bytearray(disk)
        torn[1199 * RECORD_BYTES + place] ^= 1
        assert found(bytes(torn)) == {"highest": 1199, "last": 1500, "runs": [[1, 1, 1500]]}


def test_a_valid_record_in_anothers_place_is_none() -> None:
    assert found(record(1) + record(3)) == {"highest": 1, "last": 1, "runs": [[1, 1, 1]]}


def test_starts_one_after_the_other_are_no_crime() -> None:
    seen = found(records(range(1, 6), run=1) + records(range(6, 8), run=2) + records(range(8, 9), run=3))
    assert seen["runs"] == [[1, 1, 5], [6, 6, 7], [8, 8, 8]]
    assert compare("vm", seen, 8) == []


@pytest.mark.parametrize(
    ("disk", "crimes"),
    [
        # Both found five records; what the first one had under way lands when the second one has written its own.
        (
            records(range(1, 6), run=1) + record(6, 2, 6) + records(range(6, 10), run=3)[RECORD_BYTES:],
            ["vm: the start that began with record 6 wrote 7 to 9, but not 6"],
        ),
        # The first one goes on, and the second one, too: records 7 of the first, 8 of the second.
        (
            records(range(1, 8), run=1) + record(8, 2, 6) + record(9, 1, 1),
            [
                "vm: the start that began with record 6 wrote 8 to 8, but not 7",
                "vm: the start that began with record 1 wrote 9 to 9, but not 8",
            ],
        ),
    ],
)
def test_a_write_of_an_earlier_start_over_a_later_one_is_told(disk: bytes, crimes: list[str]) -> None:
    assert compare("vm", found(disk), 9) == crimes


@pytest.mark.lab  # it has the packages that a witness is built with
def test_a_late_write_of_a_fenced_witness_is_told(tmp_path: Path) -> None:
    """Record 5 of the first start is on its way when its host is fenced, and lands when the second one has gone on."""
    program, disk = witness.build(tmp_path) / "witness", tmp_path / "disk"
    disk.write_bytes(bytes(64 * RECORD_BYTES))
    run_until(program, disk, "ack 5")
    first = disk.read_bytes()[: 5 * RECORD_BYTES]
    disk.write_bytes(first[: 4 * RECORD_BYTES].ljust(64 * RECORD_BYTES, b"\0"))
    run_until(program, disk, "ack 7")
    whole = disk.read_bytes()
    assert compare("vm", found(whole), 7) == []
    assert [run[:2] for run in found(whole)["runs"]] == [[1, 1], [5, 5]]
    (crime,) = compare("vm", found(first + whole[5 * RECORD_BYTES :]), 7)
    assert crime.startswith("vm: the start that began with record 5 wrote 6 to ")


def run_until(program: Path, disk: Path, line: str) -> None:
    """One start of the witness, which loses its power when it has said that."""
    with subprocess.Popen([program, "run", disk], stdout=subprocess.PIPE, text=True) as process:
        bound = threading.Timer(START_S, process.kill)
        bound.start()
        try:
            assert process.stdout is not None
            assert any(said.strip() == line for said in process.stdout)
        finally:
            bound.cancel()
            process.kill()


@pytest.mark.parametrize(
    ("seen", "crimes"),
    [
        ({"highest": 9, "last": 9, "runs": [[1, 1, 9]]}, []),
        (
            {"highest": 8, "last": 8, "runs": [[1, 1, 8]]},
            ["vm: 9 were acknowledged, and on its disk all are valid up to 8 only"],
        ),
        ({"highest": 9, "last": 11, "runs": [[1, 1, 11]]}, ["vm: on its disk record 10 is damaged, of 11"]),
    ],
)
def test_a_disk_with_less_than_was_acknowledged_is_told(seen: dict[str, Any], crimes: list[str]) -> None:
    assert compare("vm", seen, 9) == crimes


def test_the_highest_acknowledged_record_counts_however_late_it_was_heard() -> None:
    heard = [
        Heard(1, "xen1", "vm", "ack", 3),
        Heard(2, "xen1", "vm", "ack", 5, late=True),
        Heard(3, "xen2", "vm", "highest", 9),
    ]
    assert acknowledged(heard) == {"vm": 5}
