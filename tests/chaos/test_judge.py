"""What the chaos run accuses, on made-up stories: each crime is told, and no innocent story is."""

from __future__ import annotations

import pytest

from tests.chaos.judge import Heard, accuse

Line = tuple[float, str, str, int]


def story(*lines: Line, late: bool = False) -> list[Heard]:
    return [Heard(at, host, "vm", word, number, late=late) for at, host, word, number in lines]


# It ran on xen1, which died; then on xen2. What xen1 said last is heard when it is back.
GOOD = [
    *story((0, "xen1", "highest", 0), (1, "xen1", "ack", 1), (2, "xen1", "ack", 2), (30, "xen2", "highest", 3)),
    *story((31, "xen2", "ack", 4)),
    *story((40, "xen1", "ack", 3), late=True),
    *story((41, "xen2", "ack", 5)),
]


def test_a_crash_and_a_start_elsewhere_are_no_crime() -> None:
    assert accuse(GOOD) == []


@pytest.mark.parametrize(
    ("lines", "crime"),
    [
        ([(50, "xen3", "highest", 4)], "5 were acknowledged, xen3 found 4"),
        ([(50, "xen3", "highest", 2), (51, "xen3", "ack", 3)], "5 were acknowledged, xen3 found 2"),
        ([(50, "xen2", "highest", 4)], "5 were acknowledged, xen2 found 4"),
        ([(50, "xen1", "ack", 4)], "xen1 and xen2 both had the disk at record 4"),
        ([(50, "xen3", "highest", 5), (51, "xen3", "ack", 6), (52, "xen2", "ack", 6)], "xen2 and xen3 both"),
        ([(50, "xen3", "highest", 5), (51, "xen2", "ack", 6), (52, "xen2", "ack", 7)], "xen2 and xen3 both"),
        ([(50, "xen3", "highest", 5), (51, "xen3", "damaged", 2)], "xen3 found record 2 damaged"),
        ([(50, "xen3", "highest", 5), (51, "xen3", "ack", 5)], "xen3 acknowledged record 5, and had found 5"),
    ],
)
def test_each_crime_is_told_once(lines: list[Line], crime: str) -> None:
    (told,) = accuse(GOOD + story(*lines))
    assert crime in told


@pytest.mark.parametrize("at", [45, 60])
def test_a_second_writer_that_is_heard_late_is_told(at: float) -> None:
    """A host that was cut off went on: its records 4 and 5 are also xen2's."""
    late = story((at, "xen1", "ack", 4), (at + 1, "xen1", "ack", 5), late=True)
    assert accuse(GOOD + late) == ["vm: xen1 and xen2 both had the disk at record 4"]


def test_a_crime_has_the_same_words_as_the_story_goes_on() -> None:
    first = GOOD + story((50, "xen3", "highest", 5), (51, "xen3", "ack", 6), (52, "xen2", "ack", 6))
    assert accuse(first) == accuse(first + story((53, "xen2", "ack", 7), (54, "xen3", "ack", 7)))


@pytest.mark.parametrize(
    "lines",
    [
        # A start that was not heard when it was: others have written since.
        [*GOOD, *story((50, "xen3", "highest", 0), late=True)],
        # A run that wrote nothing, and later ones that found the same.
        [*GOOD, *story((50, "xen3", "highest", 5), (60, "xen2", "highest", 5), (61, "xen2", "ack", 6))],
        # Back on the host where it was before, and what that host had said last before it died.
        [
            *GOOD,
            *story((50, "xen1", "highest", 5), (51, "xen1", "ack", 6)),
            *story((60, "xen1", "ack", 3), (61, "xen1", "ack", 7), late=True),
            *story((62, "xen1", "ack", 8)),
        ],
        # A start was not heard at all, and its records only.
        [*GOOD, *story((50, "xen3", "ack", 6), (51, "xen3", "ack", 7)), *story((60, "xen2", "highest", 7))],
    ],
)
def test_what_is_heard_late_or_not_at_all_accuses_nobody(lines: list[Heard]) -> None:
    assert accuse(lines) == []


def test_a_late_start_with_less_than_its_own_host_acknowledged_is_a_crime() -> None:
    lost = story((50, "xen2", "highest", 3), (51, "xen2", "highest", 4), late=True)
    assert accuse(GOOD + lost)[0] == "vm: 5 were acknowledged, xen2 found 3"


def test_each_vm_has_its_own_story() -> None:
    other = [Heard(one.at_s, one.host, "other", one.word, one.number, late=one.late) for one in GOOD]
    assert accuse(GOOD + other) == []
    assert accuse([*GOOD, *other, Heard(50, "xen3", "other", "highest", 1)]) == [
        "other: 5 were acknowledged, xen3 found 1"
    ]
