"""What a host was before its boot: only clients that it can have been itself are fenced. Ceph is on paper."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from dom0.shoal_keeper.failover_past import SETTLE_S, Past
from dom0.shoal_keeper.failover_roster import Place, Roster
from shoal_dom0 import datapath

OWN = ("127.0.1.2", "192.0.2.9", "2001:db8::9")  # the host has the first; the others it had once, says the roster
ROSTER = Roster("a", "a", {"a": Place("xen1", OWN[0], OWN, "")}, (("rbd", ""),), ())


class Ceph:
    """Its clients hold a disk each."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self.fences: set[str] = set()
        self.is_whole = True  # whether all pools have answered

    def owners(self, places: tuple[tuple[str, str], ...]) -> tuple[list[tuple[Any, ...]], frozenset[Any]]:
        (place,) = places
        found = [(place, "vdi-a", str(number), address) for number, address in enumerate(self._addresses)]
        return found, frozenset() if self.is_whole else frozenset({("other", "")})

    def fenced(self, _: tuple[str, str]) -> set[str]:
        return self.fences

    def fence(self, _: tuple[str, str], addresses: set[str]) -> None:
        self.fences |= addresses


def run(ceph: Ceph) -> None:
    past = Past(ceph, lambda *_: None)
    for uptime_s in (0.0, SETTLE_S, 2 * SETTLE_S):
        past.update(ROSTER, uptime_s)


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datapath, "clients", set)


def test_an_address_that_another_host_has_by_now_is_not_fenced() -> None:
    ceph = Ceph("127.0.1.2:0/1", "192.0.2.9:0/2", "[2001:db8::9]:0/3")
    run(ceph)
    assert ceph.fences == {"127.0.1.2:0/1"}


def test_a_device_that_goes_while_the_kernel_is_asked_of_it_costs_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> set[str]:
        monkeypatch.setattr(datapath, "clients", set)
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(datapath, "clients", ask)
    ceph = Ceph("127.0.1.2:0/1")
    run(ceph)
    assert ceph.fences == {"127.0.1.2:0/1"}
