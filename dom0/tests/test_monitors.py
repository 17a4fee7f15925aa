"""Which monitors a map is told of: those that take a connection, or all."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from dom0.shoal_dom0 import monitors
from dom0.shoal_dom0.monitors import choose, listening


@contextlib.contextmanager
def listener(host: str = "127.0.0.1") -> Iterator[str]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as made:
        port = made.getsockname()[1]
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A port that answers nothing, as that of a host without power: its queue of connections is full."""
    with socket.socket() as made, contextlib.ExitStack() as stack:
        made.bind(("127.0.0.1", 0))
        made.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(made.getsockname())
        yield f"127.0.0.1:{made.getsockname()[1]}"


@pytest.fixture
def refused() -> str:
    with listener() as endpoint:
        return endpoint


def test_all_that_listen_in_their_order() -> None:
    with listener() as one, listener("::1") as two, listener() as three:
        assert listening([three, two, one]) == [three, two, one]


def test_one_that_refuses_and_one_that_is_silent_are_left_out_soon(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitors, "FIRST_WITHIN_S", 60.0)
    with listener() as one, silent() as dead:
        began_s = time.monotonic()
        assert listening([dead, refused, one]) == [one]
        assert time.monotonic() - began_s < 30


def test_where_none_answers_the_kernel_is_told_of_all(refused: str) -> None:
    with silent() as dead:
        assert listening([refused, dead]) == [refused, dead]
    assert listening([refused]) == [refused]
    assert listening(["[::1%]:6789", refused]) == ["[::1%]:6789", refused]


def test_a_hosts_own_monitor_is_chosen_if_it_takes_part_and_listens(refused: str) -> None:
    with listener() as own, listener("::1") as other:
        every = [other, own]
        assert choose(every, "127.0.0.1", every) == [own]
        assert choose(every, "[::1]", every) == [other]
        assert choose(every, "127.0.0.1", [other]) == every, "it has no quorum"
        assert choose([other, refused], "127.0.0.1", [other, refused]) == [other], "it has just gone"
        for unknown in (None, "", "192.0.2.1"):
            assert choose(every, unknown, every) == every


def test_of_a_service_that_knows_of_no_quorum_nothing_is_made() -> None:
    with listener() as own:
        for odd in ([], [None, {}, 7], ["127.0.0.1"]):
            assert choose([own, own], "127.0.0.1", odd) == [own, own]
