"""What a host that is cut off stops: no more than it must, and none of it is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from dom0.shoal_keeper import domains, failover_stopped, failover_watch, observe
from dom0.shoal_keeper.failover import CLAIM, STOP_STRAY, Guest, Peer, Sight, Step
from dom0.shoal_keeper.failover_stopped import TAKE_BACK_S
from dom0.shoal_keeper.failover_watch import FRESH_S, STRAY_S, Watch
from dom0.shoal_keeper.services import Silent
from dom0.tests.test_keeper_failover_masters import MACHINES, World

PEERS = tuple(Peer(name, True, True, True) for name in ("a", "b", "c"))


class Xen:
    """The VMs that run here, each a domain with the same name; `at_destroy` may raise, or change the world."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *vms: str) -> None:
        self.vms = list(vms)
        self.at_destroy = lambda: None
        monkeypatch.setattr(domains, "on_shoal", lambda: {vm: vm for vm in self.vms})
        monkeypatch.setattr(domains, "destroy", self.destroy)

    def destroy(self, domain: str) -> None:
        self.at_destroy()
        self.vms.remove(domain)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch, master="a")


def cut_off(world: World, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    world.dead |= {"b", "c"}

    def silent() -> None:
        raise Silent("no quorum")

    monkeypatch.setattr(world.watch._services, "members", silent)
    world.rounds(seconds)


def claims(watch: Watch, uptime_s: float, *vms: str) -> list[str]:
    """Of VMs that the pool has as off, by now."""
    guests = tuple(Guest(vm, "Halted", "", False, "") for vm in vms)
    steps = watch._stopped.take_back(Sight("a", True, 0.0, PEERS, guests, {}, frozenset()), uptime_s)
    assert {step.kind for step in steps} <= {CLAIM}
    return [step.vm for step in steps]


def test_a_vm_whose_end_xen_has_not_acknowledged_is_not_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last writes hang in the kernel. When Ceph is back it ends by itself, and nobody has stopped it then."""
    xen = Xen(monkeypatch, "v")

    def fail() -> None:
        raise domains.XenSilent("xl: timed out after 60 seconds")

    xen.at_destroy = fail
    cut_off(world, monkeypatch, 45)
    xen.vms.clear()
    world.rounds(9)
    assert claims(world.watch, world.clock, "v", "w") == ["v"]


def test_a_keeper_that_is_restarted_knows_what_the_one_before_it_has_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same boot, and for as long as that one would have known it."""
    Xen(monkeypatch, "v")
    cut_off(world, monkeypatch, 900)
    assert claims(Watch(lambda *_: None), world.clock + TAKE_BACK_S - 100, "v", "w") == ["v"]
    assert claims(Watch(lambda *_: None), world.clock + TAKE_BACK_S + 1, "v") == []
    assert claims(Watch(lambda *_: None), world.clock, "v") == [], "it was told that all is over"


def test_another_boot_has_nothing_to_take_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Xen(monkeypatch, "v")
    cut_off(world, monkeypatch, 60)
    boot = observe.read_boot()
    monkeypatch.setattr(observe, "read_boot", lambda: "another")
    assert claims(Watch(lambda *_: None), world.clock, "v") == []
    monkeypatch.setattr(observe, "read_boot", lambda: boot)
    (Path(failover_stopped.file())).write_text("{}")
    assert claims(Watch(lambda *_: None), world.clock, "v") == []


def test_a_host_that_is_back_among_the_others_stops_no_more_vms(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a while to stop many, and nobody may have fenced it."""
    xen = Xen(monkeypatch, "v", "w", "x")

    def heal() -> None:
        world.clock += FRESH_S + 1
        world.dead.clear()

    xen.at_destroy = heal
    cut_off(world, monkeypatch, 45)
    assert xen.vms == ["w", "x"]


def test_a_stray_is_looked_at_again_when_it_may_be_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs a second time, if without a disk."""
    Xen(monkeypatch, "v")
    sight = Sight("a", True, 0.0, PEERS, (), {}, frozenset(), strays=("v",), master="a")
    watch, began = world.watch, world.clock
    monkeypatch.setattr(watch, "_look", lambda here: sight if here else sight._replace(strays=()))
    watch._work(MACHINES)
    assert watch._next_look_at == began + STRAY_S < began + failover_watch.IDLE_S
    world.clock = watch._next_look_at
    performed: list[Step] = []
    monkeypatch.setattr(watch._actor, "perform", lambda step, _: performed.append(step))
    watch._work(MACHINES)
    assert [step.kind for step in performed] == [STOP_STRAY]
    assert watch._next_look_at > world.clock, "one that cannot be stopped is not looked at all the time"
