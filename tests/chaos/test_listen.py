"""What is heard of consoles whose logs are read again."""

from __future__ import annotations

from tests.chaos.listen import Ear


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
