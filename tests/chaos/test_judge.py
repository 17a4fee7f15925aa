"""What the chaos run accuses, and of what it measures: on made-up stories."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.judge import Heard, accuse, longest_silence, running_elsewhere_s
from tests.chaos.schedule import Kind, draw


def story(*lines: tuple[float, str, str, int]) -> list[Heard]:
    return [Heard(at, host, "vm", word, number) for at, host, word, number in lines]


GOOD = story(
    (0, "xen1", "highest", 0), (1, "xen1", "ack", 1), (2, "xen1", "ack", 2), (30, "xen2", "highest", 3),
    (31, "xen2", "ack", 4), (40, "xen1", "ack", 3), (41, "xen2", "ack", 5),
)  # fmt: skip


def test_a_crash_and_a_start_elsewhere_are_no_crime() -> None:
    assert accuse(GOOD) == []


@pytest.mark.parametrize(
    ("lines", "crime"),
    [
        (((50, "xen3", "highest", 4),), "5 were acknowledged, 4 are there"),
        (((50, "xen3", "highest", 5), (51, "xen3", "ack", 6), (52, "xen2", "ack", 6)), "xen3 has the disk"),
        (((50, "xen3", "highest", 5), (51, "xen3", "damaged", 2)), "record 2 is damaged"),
    ],
)
def test_each_crime_is_told(lines: tuple[tuple[float, str, str, int], ...], crime: str) -> None:
    (told,) = accuse(GOOD + story(*lines))
    assert crime in told


def test_a_stall_is_the_longest_silence_that_reaches_into_the_span() -> None:
    assert longest_silence(GOOD, "vm", 1.5, 35).seconds == 29.0
    assert longest_silence(GOOD, "vm", 3, 5).seconds == 0.0  # not over yet: nothing to say


def test_running_elsewhere_counts_from_the_fault_to_the_first_record() -> None:
    assert running_elsewhere_s(GOOD, "vm", "xen1", 10) == 21.0
    assert running_elsewhere_s(GOOD, "vm", "xen2", 50) is None


def test_a_seed_gives_the_same_faults_and_each_comes() -> None:
    kinds = [Kind("crash", 1, 5, weight=2), Kind("cut", 1, 5)]
    first, again = (list(islice(draw(7, kinds, ["xen1", "xen2"]), 6)) for _ in range(2))
    assert first == again
    assert sorted(event.fault for event in first[:3]) == ["crash", "crash", "cut"]
    assert first != list(islice(draw(8, kinds, ["xen1", "xen2"]), 6))
