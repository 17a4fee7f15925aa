"""What is heard of consoles whose logs are read again, and what is found on the witnesses' disks."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.chaos.judge import Heard
from tests.chaos.listen import Ear
from tests.chaos.proof import acknowledged, compare
from tests.chaos.records import RECORD_BYTES, survey


def hear(ear: Ear, *lines: str) -> list[tuple[str, int, bool]]:
    heard = [ear.take(f"{line}\n", 1.0) for line in lines]
    return [(one.word, one.number, one.late) for one in heard if one]


def test_what_a_log_held_before_is_heard_late_and_only_once() -> None:
    ear = Ear("xen1")
    ear.begin()
    live = hear(ear, "alive", "vm-1 witness start", "vm-1 highest 0", "vm-1 ack 1", "vm-10 ack 1", "vm-1 ack 2")
    assert live == [("highest", 0, False), ("ack", 1, False), ("ack", 1, False), ("ack", 2, False)]
    ear.begin()
    again = hear(ear, "vm-1 old 5", "vm-1 witness start", "vm-1 highest 0", "vm-1 ack 1", "vm-1 ack 2", "vm-1 ack 3")
    assert again == [("ack", 3, True)]
    assert hear(ear, "vm-1 ack 4", "vm-1 witness start", "vm-1 highest 4") == [("ack", 4, False), ("highest", 4, False)]


def test_a_late_line_that_a_later_run_has_said_again_is_heard_again() -> None:
    """The VM was started anew on the same host while nobody listened, and had lost its records."""
    ear = Ear("xen1")
    ear.begin()
    first = ["vm highest 5", "vm ack 6", "vm ack 7"]
    assert len(hear(ear, *first)) == 3
    ear.begin()
    again = hear(ear, "vm old 6", *first, "vm witness start", "vm highest 5", "vm ack 6")
    assert again == [("highest", 5, True), ("ack", 6, True)]
    ear.begin()
    assert hear(ear, "vm old 6", *first, "vm witness start", "vm highest 5", "vm ack 6") == []


def test_half_a_line_is_not_heard() -> None:
    """The host died in the middle of `ack 12`."""
    ear = Ear("xen1")
    ear.begin()
    assert ear.take("vm ack 1", 1.0) is None


def test_a_live_line_is_heard_even_if_another_run_has_said_it() -> None:
    """Two runs on one host that acknowledge the same record: the judge must hear of both."""
    ear = Ear("xen1")
    ear.begin()
    assert hear(ear, "vm highest 1", "vm ack 2") == hear(ear, "vm highest 1", "vm ack 2")


def record(number: int) -> bytes:
    body = struct.pack("<8sQQQ", b"SHOALWIT", 7, number, 99).ljust(RECORD_BYTES - 4, b"x")
    return body + struct.pack("<I", zlib.crc32(body))


def found(disk: bytes) -> dict[str, int]:
    whole = disk.ljust(4096 * RECORD_BYTES, b"\0")
    return survey(lambda offset, length: whole[offset : offset + length], len(whole))


def test_records_are_counted_as_far_as_all_are_valid() -> None:
    disk = b"".join(record(number) for number in range(1, 1501))
    assert found(disk) == {"highest": 1500, "last": 1500}
    assert found(b"") == {"highest": 0, "last": 0}
    for place in (0, 40, RECORD_BYTES - 1):
        torn = bytearray(disk)
        torn[1199 * RECORD_BYTES + place] ^= 1
        assert found(bytes(torn)) == {"highest": 1199, "last": 1500}


def test_a_valid_record_in_anothers_place_is_none() -> None:
    assert found(record(1) + record(3)) == {"highest": 1, "last": 1}


@pytest.mark.parametrize(
    ("seen", "crimes"),
    [
        ({"highest": 9, "last": 9}, []),
        ({"highest": 8, "last": 8}, ["vm: 9 were acknowledged, and on its disk all are valid up to 8 only"]),
        ({"highest": 9, "last": 11}, ["vm: on its disk record 10 is damaged, of 11"]),
    ],
)
def test_a_disk_with_less_than_was_acknowledged_is_told(seen: dict[str, int], crimes: list[str]) -> None:
    assert compare("vm", seen, 9) == crimes


def test_the_highest_acknowledged_record_counts_however_late_it_was_heard() -> None:
    heard = [
        Heard(1, "xen1", "vm", "ack", 3),
        Heard(2, "xen1", "vm", "ack", 5, late=True),
        Heard(3, "xen2", "vm", "highest", 9),
    ]
    assert acknowledged(heard) == {"vm": 5}
