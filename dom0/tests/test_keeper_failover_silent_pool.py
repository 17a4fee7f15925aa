"""A host dies, and one of several Ceph pools does not answer: the VMs on the others start elsewhere all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import failover_story
from dom0.shoal_keeper.failover import Lost, Peer, Sight
from dom0.shoal_keeper.failover_past import SETTLE_S, Past
from dom0.shoal_keeper.failover_roster import Place
from dom0.shoal_keeper.failover_story import START_PATIENCE_S, Story
from dom0.tests.keeper_pool import KeeperPool
from dom0.tests.test_keeper_failover_acts import calm, crash, place
from dom0.tests.test_keeper_failover_past import ROSTER, Ceph
from shoal_dom0 import datapath
from shoal_keeper import failover_ceph
from shoal_keeper.services import Silent
from tests.contract.pools import vbd_record, vdi_record

FAST, SLOW = ("fast", ""), ("slow", "")


class Asked(failover_ceph.Services):
    """Answers about the owners of a pool's locks, unless the pool is `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def _ask(self, _method: str, path: str, _body: Any, _timeout_s: float, _read: Callable[[Any], Any]) -> Any:
        pool = path.split("/")[3]
        self.asked.append(pool)
        if pool in self.silent:
            raise Silent(f"{pool}: no answer")
        return [(f"vdi-{pool}", "7", "192.0.2.1:0/7")]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(failover_ceph.time, "monotonic", lambda: now[0])
    return now


def test_a_pool_that_does_not_answer_is_told_apart_and_left_alone_for_a_while(clock: list[float]) -> None:
    services = Asked()
    services.silent = {"fast"}
    of_slow = [(SLOW, "vdi-slow", "7", "192.0.2.1:0/7")]
    assert services.owners({SLOW, FAST}) == (of_slow, {FAST})
    assert services.owners({SLOW, FAST}) == (of_slow, {FAST}) and services.asked == ["fast", "slow", "slow"]
    clock[0] += failover_ceph.SILENT_S
    services.silent.clear()
    found, silent = services.owners({SLOW, FAST})
    assert {pool for pool, *_ in found} == {SLOW, FAST} and not silent


@pytest.mark.usefixtures("clock")
def test_where_none_answers_ceph_is_away_and_all_are_asked_again() -> None:
    services = Asked()
    assert services.owners(()) == ([], frozenset())
    services.silent = {"fast"}
    services.owners({SLOW, FAST})
    services.silent = {"fast", "slow"}
    for _ in range(2):
        with pytest.raises(Silent):
            services.owners({SLOW, FAST})
    services.silent.clear()
    assert services.owners({SLOW, FAST})[1] == frozenset()


def test_what_this_host_was_before_its_boot_is_looked_for_until_all_pools_have_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(datapath, "clients", set)
    ceph = Ceph()
    past = Past(ceph, lambda *_: None)
    ceph.is_whole = False
    past.update(ROSTER, 0.0)
    ceph.is_whole, ceph._addresses = True, ("127.0.1.2:0/1",)
    for uptime_s in (1.0, 1.0 + SETTLE_S):
        past.update(ROSTER, uptime_s)
    assert ceph.fences == {"127.0.1.2:0/1"}


def test_people_are_told_what_is_not_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(failover_story.alerts, "find", lambda *_: {})
    monkeypatch.setattr(failover_story.alerts, "create", lambda *about: told.append(about[-1]))
    dead = Peer("b", beats=False, in_quorum=False, osds_up=False, silent_s=60.0)
    roster = ROSTER._replace(hosts={"a": Place("xen1", "", (), ""), "b": Place("xen2", "", (), "")})
    for silent, uptime_s in ((frozenset({"slow"}), 0.0), (frozenset[str](), 1.0)):
        story = Story(lambda *_: None, lambda *_: None)
        lost = (Lost("b", "v", "guest", is_marked=True, hindrance=""),)
        sight = Sight("a", True, 0.0, (dead,), (), {"b": "a"}, frozenset(), lost=lost, silent=silent)
        story.update(sight, roster, uptime_s)
        story.update(sight, roster, uptime_s + START_PATIENCE_S)
    assert ["Ceph pool slow does not answer" in body for body in told] == [True, False]
    assert all("Not started yet: guest." in body for body in told)


def test_only_vms_with_a_disk_in_it_wait_for_a_pool_that_does_not_answer(tmp_path: Path) -> None:
    """Its name comes first, so it is the one with the locks, too: nobody is kept from leading, since claims decide."""
    with KeeperPool(tmp_path, host_count=3) as pool:
        (pool.storage / "first").mkdir()
        first = pool.make_sr("first")
        vms = {name: pool.make_vm(name, marked=False, sr=sr, other_config={"shoal:restart": "true"})
               for name, sr in (("seen", pool.sr), ("unseen", first), ("half-seen", pool.sr))}  # fmt: skip
        other_disk = pool.api.VDI.create(vdi_record(first))
        pool.api.VBD.create(vbd_record(vms["half-seen"], other_disk, userdevice="1"))
        for number, vm in enumerate(vms.values()):
            pool.api.VM.start_on(vm, pool.refs["xen2"], False, False)
            (vbd, *_) = pool.api.VM.get_VBDs(vm)
            disk = pool.api.VDI.get_location(pool.api.VBD.get_VDI(vbd))
            pool.services.ceph.owners.add((f"vdi-{disk}", f"127.0.0.2:0/{number}"))
        pool.start_keepers()
        calm(pool)
        pool.services.silent_pools = {"first"}
        crash(pool, "xen2")
        away = pool.refs["xen2"]
        pool.wait(lambda: pool.running(vms["seen"]) and place(pool, vms["seen"]) != away, "the VM that is seen", timeout_s=60)
        assert "127.0.0.2:0/0" in pool.services.ceph.fenced
        waiting = (vms["unseen"], vms["half-seen"])
        assert all(place(pool, vm) == away for vm in waiting)
        assert not any("shoal:claim" in pool.api.VM.get_other_config(vm) for vm in waiting)
        pool.services.silent_pools.clear()
        pool.wait(lambda: all(pool.running(vm) and place(pool, vm) != away for vm in waiting), "the others, too", timeout_s=90)
