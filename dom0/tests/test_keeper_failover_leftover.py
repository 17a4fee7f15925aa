"""Disks that a start which broke off has left mapped: their host lets go of them, and of none that anybody may be using."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import domains, failover_leftover, failover_look
from dom0.shoal_keeper.failover import Guest, Peer, Sight
from dom0.shoal_keeper.failover_leftover import LEFT_S, Leftover
from dom0.shoal_keeper.failover_presence import Presence
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.tests import test_keeper_failover_shut_out as shut_out
from dom0.tests.keeper_pool import KeeperPool
from dom0.tests.test_keeper_failover import World, work
from dom0.tests.test_keeper_failover_acts import ADDRESS, CLIENT, calm, image, place, start_guest, watched_pool
from shoal_dom0 import datapath

OWN, OTHER = "192.0.2.1:0/7", "192.0.2.2:0/8"
ROSTER = Roster("a", "b", {"a": Place("xen1", "192.0.2.1", ("192.0.2.1",), "")}, (("rbd", ""),), ())
GUEST = Guest("v", "Halted", "", True, "b", holders=frozenset({("a", OWN)}))


def sight(guest: Guest, *acknowledged: str) -> Sight:
    peers = (Peer("a", True, True, True), Peer("b", True, True, True))
    return Sight("a", True, 0.0, peers, (guest,), {}, frozenset(acknowledged))


class Ceph:
    """Who holds disks, by number and address."""

    def __init__(self) -> None:
        self.held = [(("rbd", ""), "vdi-v", "7", OWN), (("rbd", ""), "vdi-w", "8", OTHER)]
        self.fenced: set[str] = set()

    def owners(self, _: Any) -> tuple[list[Any], frozenset[Any]]:
        return self.held, frozenset()

    def fence(self, _: tuple[str, str], addresses: set[str]) -> None:
        self.fenced |= addresses


@pytest.fixture
def ceph(monkeypatch: pytest.MonkeyPatch) -> Ceph:
    """Its client 7 is this host's kernel; no VM runs here."""
    monkeypatch.setattr(datapath, "clients", lambda: {"7"})
    monkeypatch.setattr(domains, "on_shoal", dict)
    return Ceph()


def update(leftover: Leftover, uptime_s: float, guest: Guest = GUEST) -> None:
    leftover.update(sight(guest), ROSTER, uptime_s)


def test_only_a_vm_that_is_off_in_hand_and_waits_for_this_host_alone_is_one() -> None:
    assert failover_leftover.left(sight(GUEST)) == {("v", frozenset({OWN}))}
    assert failover_leftover.left(sight(GUEST, OWN)) == set()
    for other in (
        GUEST._replace(claim=""),
        GUEST._replace(power_state="Running", resident_on="a"),
        GUEST._replace(is_busy=True),
        GUEST._replace(holders=frozenset()),
        GUEST._replace(holders=frozenset({("b", OTHER)})),
        GUEST._replace(holders=frozenset({("a", OWN), ("b", OTHER)})),
    ):
        assert failover_leftover.left(sight(other)) == set()


def test_it_is_shut_out_when_that_has_lasted(ceph: Ceph) -> None:
    leftover = Leftover(ceph, lambda *_: None)
    for uptime_s in (0.0, LEFT_S / 2, LEFT_S - 1):
        update(leftover, uptime_s)
    assert leftover and not ceph.fenced
    update(leftover, LEFT_S)
    assert ceph.fenced == {OWN}
    leftover.update(sight(GUEST, OWN), ROSTER, LEFT_S)
    assert not leftover


def test_what_was_in_use_or_mapped_anew_meanwhile_has_not_lasted(ceph: Ceph) -> None:
    leftover = Leftover(ceph, lambda *_: None)
    update(leftover, 0.0)
    update(leftover, LEFT_S - 1, GUEST._replace(is_busy=True))
    update(leftover, LEFT_S)
    update(leftover, 2 * LEFT_S - 1, GUEST._replace(holders=frozenset({("a", "192.0.2.1:0/9")})))
    update(leftover, 2 * LEFT_S)
    assert not ceph.fenced


def test_a_vm_that_runs_here_whatever_its_record_says_keeps_its_disk(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "on_shoal", lambda: {"v": "3"})
    leftover = Leftover(ceph, lambda *_: None)
    update(leftover, 0.0)
    update(leftover, LEFT_S)
    assert not ceph.fenced


def test_a_client_with_this_hosts_address_that_is_not_its_kernels_is_another_hosts(ceph: Ceph) -> None:
    ceph.held = [(("rbd", ""), "vdi-v", "8", OWN)]
    leftover = Leftover(ceph, lambda *_: None)
    update(leftover, 0.0)
    update(leftover, LEFT_S)
    assert not ceph.fenced


def busy(world: shut_out.World) -> bool:
    (guest,) = failover_look.look(world.call, world, shut_out.ROSTER, Presence(), {}).guests
    return guest.is_busy


def test_a_vm_is_busy_while_anything_is_done_with_it_or_its_disks() -> None:
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("VM", "vm", {"current_operations": {"task": "start_on"}}),
        ("VM", "vm", {"scheduled_to_be_resident_on": "ref-b"}),
        ("VBD", "two", {"current_operations": {"task": "plug"}}),
        ("VBD", "two", {"VDI": "one", "VM": "a host's own", "currently_attached": True}),
        ("VDI", "one", {"current_operations": {"task": "copy"}}),
    ]
    assert not busy(shut_out.World()), "its own disk is attached, says the record"
    for kind, ref, change in changes:
        world = shut_out.World()
        world.tables[kind][ref].update(change)
        assert busy(world), (kind, change)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with watched_pool(tmp_path) as made:
        yield made


def test_a_vm_that_another_host_has_in_hand_is_started_once_this_one_has_let_go_of_its_disk(pool: KeeperPool) -> None:
    vm = start_guest(pool)
    pool.api.VM.hard_shutdown(vm)
    calm(pool)
    pool.hosts["xen1"].kill()
    pool.hosts["xen2"].kill()
    pool.api.VM.add_to_other_config(vm, "shoal:claim", pool.api.host.get_uuid(pool.refs["xen1"]))
    (pool.hosts["xen2"].folder / "clients").write_text("77")
    assert (image(pool, vm), CLIENT) in pool.services.ceph.owners and CLIENT.startswith(ADDRESS["xen2"])
    pool.hosts["xen1"].start()
    pool.hosts["xen2"].start()
    pool.wait(lambda: pool.running(vm), "the VM to run", timeout_s=60)
    assert pool.services.ceph.fenced == [CLIENT] and place(pool, vm) in pool.refs.values()


def test_a_vm_whose_start_broke_off_on_another_host_is_started_once_that_host_has_let_go_of_its_disk() -> None:
    world = World()
    world.vms["v1"].claim = "b"
    world.leave_map("v1", "c")
    work(world, "a", "b", "c")
    assert not world.vms["v1"].runs_on
    world.let_go("c")
    work(world, "b")
    world.go_on("v1", "c")
    assert world.vms["v1"].power_state == "Running" and len(world.writers("v1")) == 1


def test_a_start_that_was_only_slow_is_not_shut_out() -> None:
    world = World()
    world.vms["v1"].claim = "b"
    world.leave_map("v1", "c")
    world.go_on("v1", "c")
    world.let_go("c")
    work(world, "b")
    assert world.writers("v1") == ["c"]
