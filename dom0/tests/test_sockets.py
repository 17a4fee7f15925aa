"""Connections that never end: found in the kernel's table, and ended only after they have lasted."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

import pytest

from dom0.shoal_dom0 import sockets

HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    "                                                     \n"
)
# As a dom0 with Linux 6.1.0-56 showed them after an OSD's host had died.
STUCK = "   4: 0D004D0A:B05E 16004D0A:1A91 04 00001175:00000000 00:00000000 00000005     0        0 0 1 00000000f827aadd 665 4 0 1 7\n"
OTHERS = (
    "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11596 1 0000 100 0 0 10 0\n"
    "   3: 0D004D0A:D91C 17004D0A:1A91 01 00000000:00000000 00:00000000 00000000     0        0 17664 1 0000 22 4 28 10 -1\n"
    # A connection of the kernel's that waits for an answer; an orphan of userland's, which has its timer; one with all sent.
    "   5: 0D004D0A:D91D 17004D0A:1A91 01 00001175:00000000 01:00000000 00000000     0        0 0 1 0000 22 4 28 10 -1\n"
    "   6: 0D004D0A:D91E 17004D0A:1A91 04 00001175:00000000 01:0000000A 00000000     0        0 0 1 0000 22 4 28 10 -1\n"
    "   7: 0D004D0A:D91F 17004D0A:1A91 05 00000000:00000000 00:00000000 00000000     0        0 0 1 0000 22 4 28 10 -1\n"
)
STUCK_6 = (
    "   1: 000080FE000000000000000001000000:B05E 000080FE000000000000000002000000:1A91 04 00001175:00000000"
    " 00:00000000 00000005     0        0 0 1 0000 665 4 0 1 7\n"
)


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    places = ((str(tmp_path / "tcp"), socket.AF_INET), (str(tmp_path / "tcp6"), socket.AF_INET6))
    monkeypatch.setattr(sockets, "TABLES", places)
    (tmp_path / "tcp").write_text(HEAD + OTHERS + STUCK)
    return tmp_path


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel was told to end."""
    told: list[str] = []
    monkeypatch.setattr(sockets, "LASTS_S", 0.0)
    monkeypatch.setattr(sockets, "end", lambda each: told.append(str(each)))
    return told


def test_those_without_owner_and_timer_are_found(tables: Path) -> None:
    (found,) = sockets.stuck()
    assert str(found) == "10.77.0.13:45150 to 10.77.0.22:6801"
    assert (found.state, found.unsent) == (4, 4469)
    (tables / "tcp6").write_text(HEAD + STUCK_6)
    assert {str(each) for each in sockets.stuck()} == {str(found), "[fe80::1]:45150 to [fe80::2]:6801"}


def test_one_that_lasts_is_ended_once(tables: Path, ended: list[str]) -> None:
    watch = sockets.Stuck()
    assert watch.end_lasting() == ["ended the dead connection 10.77.0.13:45150 to 10.77.0.22:6801, which kept a guest's pages"]
    assert watch.end_lasting() == []
    assert ended == ["10.77.0.13:45150 to 10.77.0.22:6801"]


def test_one_that_has_not_lasted_or_moves_is_left_alone(
    tables: Path, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "LASTS_S", 2.0)
    watch, now = sockets.Stuck(), 100.0
    monkeypatch.setattr(sockets.time, "monotonic", lambda: now)
    watch.end_lasting()
    now += 1.9
    watch.end_lasting()
    (tables / "tcp").write_text(HEAD + STUCK.replace("00001175", "00001174"))  # something was sent
    now += 1.9
    watch.end_lasting()
    assert ended == []
    now += 2.0
    watch.end_lasting()
    assert ended == ["10.77.0.13:45150 to 10.77.0.22:6801"]


def test_one_that_cannot_be_ended_is_told_of_and_tried_again_later(tables: Path, ended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: sockets.Socket) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(sockets, "end", refuse)
    watch = sockets.Stuck()
    (said,) = watch.end_lasting()
    assert "cannot be ended" in said and "not supported" in said
    assert watch.end_lasting() == []
    later = time.monotonic() + 61
    monkeypatch.setattr(sockets.time, "monotonic", lambda: later)
    assert watch.end_lasting() == [said]


def test_one_that_is_gone_meanwhile_is_nothing_to_tell(
    tables: Path, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: sockets.Socket) -> None:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(sockets, "end", gone)
    assert sockets.Stuck().end_lasting() == []


@pytest.mark.lab  # by root only
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_kernel_ends_what_it_is_told_to(family: socket.AddressFamily, host: str) -> None:
    """One that is open, since none of the kernel's own can be made here: it is told in the same words."""
    with socket.create_server((host, 0), family=family) as server, socket.create_connection(server.getsockname()[:2]) as one:
        places = [(socket.inet_pton(family, at[0]), at[1]) for at in (one.getsockname(), one.getpeername())]
        sockets.end(sockets.Socket(family, *places, state=1, unsent=0))
        with pytest.raises(ConnectionAbortedError):
            one.recv(1)
        with pytest.raises(FileNotFoundError):
            sockets.end(sockets.Socket(family, *places, state=1, unsent=0))
