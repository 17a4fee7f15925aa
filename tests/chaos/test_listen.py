"""What is heard of consoles whose logs are read again."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from lab.topology import Lab
from tests.chaos import run as chaos_run
from tests.chaos.ground import Ground
from tests.chaos.listen import SUM_UP, Ear, Listener
from tests.chaos.run import Run, wait_until_whole


def hear(ear: Ear, *lines: str) -> list[tuple[str, int, bool]]:
    heard = [one for line in lines for one in ear.take(f"{line}\n", 1.0)]
    return [(one.word, one.number, one.late) for one in heard]


def sum_up(folder: Path, *lines: str, count: int = 2000) -> list[str]:
    """What an ear is sent of a log's first lines."""
    log = folder / "log"
    log.write_text("".join(f"{line}\r\n" for line in lines))
    argv = ["awk", "-v", "vm=vm", "-v", f"count={count}", SUM_UP, str(log)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def test_of_old_lines_ranges_are_sent(tmp_path: Path) -> None:
    lines = ["witness start", "highest 0", *(f"ack {n}" for n in range(1, 1000)), "failed 7: No space", "damaged 3"]
    lines += ["witness start", "highest 900", "ack 901", "ack 902", "ack 901"]
    told = ["vm old highest 0 0", "vm old ack 1 999", "vm old damaged 3 3", "vm old highest 900 900"]
    assert sum_up(tmp_path, *lines) == [*told, "vm old ack 901 902", "vm old ack 901 901"]
    assert sum_up(tmp_path, *lines, count=4) == ["vm old highest 0 0", "vm old ack 1 2"]
    assert sum_up(tmp_path) == []


def test_what_a_log_held_before_is_heard_late_and_only_once() -> None:
    ear = Ear("xen1")
    ear.begin()
    live = hear(ear, "alive", "vm-1 witness start", "vm-1 highest 0", "vm-1 ack 1", "vm-10 ack 1", "vm-1 ack 2")
    assert live == [("highest", 0, False), ("ack", 1, False), ("ack", 1, False), ("ack", 2, False)]
    ear.begin()
    again = hear(ear, "vm-1 old highest 0 0", "vm-1 old ack 1 4")
    assert again == [("ack", 3, True), ("ack", 4, True)]
    live = hear(ear, "vm-1 ack 5", "vm-1 witness start", "vm-1 highest 5")
    assert live == [("ack", 5, False), ("highest", 5, False)]


def test_a_late_line_that_a_later_run_has_said_again_is_heard_again() -> None:
    """The VM was started anew on the same host while nobody listened, and had lost its records."""
    ear = Ear("xen1")
    ear.begin()
    assert len(hear(ear, "vm highest 5", "vm ack 6", "vm ack 7")) == 3
    old = ["vm old highest 5 5", "vm old ack 6 7", "vm old highest 5 5", "vm old ack 6 6"]
    ear.begin()
    assert hear(ear, *old) == [("highest", 5, True), ("ack", 6, True)]
    ear.begin()
    assert hear(ear, *old) == []


def test_half_a_line_is_not_heard() -> None:
    """The host died in the middle of `ack 12`."""
    ear = Ear("xen1")
    ear.begin()
    assert ear.take("vm ack 1", 1.0) == []


def test_a_live_line_is_heard_even_if_another_run_has_said_it() -> None:
    """Two runs on one host that acknowledge the same record: the judge must hear of both."""
    ear = Ear("xen1")
    ear.begin()
    assert hear(ear, "vm highest 1", "vm ack 2") == hear(ear, "vm highest 1", "vm ack 2")


def test_who_waits_says_what_for_and_which_host_is_not_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chaos_run, "SAY_EVERY_S", 0.0)
    monkeypatch.setattr(chaos_run, "LOOK_EVERY_S", 0.01)
    lab = Lab(tmp_path, tmp_path, host_count=1)
    run = Run(Ground(lab), Listener(lab, "vm"), {"vm-1": "a ref"})
    assert not wait_until_whole(run, "after a crash", within_s=0.3)
    lines = capsys.readouterr().err.splitlines()
    assert "after a crash, waits on: no record of vm-1 (xen1 says nothing: not connected yet)" in lines[0]
    assert "not whole again within 0.3 s after a crash: no record of vm-1" in lines[-1]


def test_a_listener_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    lab = Lab(tmp_path, tmp_path, host_count=1)
    key = lab.host("xen1").dir / "ssh" / "ssh_host_ed25519_key.pub"
    key.parent.mkdir(parents=True)
    key.write_text("no key")
    with Listener(lab, "vm") as listener:
        run = Run(Ground(lab), listener, {"vm-1": "a ref"})
        began_s = time.monotonic()
        with pytest.raises(RuntimeError, match="not listened to any more: KeyImportError"):
            wait_until_whole(run, "at first", within_s=30)
        assert time.monotonic() - began_s < 10
