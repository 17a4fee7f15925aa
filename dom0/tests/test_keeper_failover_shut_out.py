"""Which VMs a host takes itself to be shut out from: what it finds it stops, so it must find no VM that is well."""

from __future__ import annotations

from typing import Any

import pytest

from dom0.shoal_keeper import failover_look
from dom0.shoal_keeper.failover_presence import Presence
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.state import NULL

OWN, OTHER = "192.0.2.1:0/7", "192.0.2.2:0/7"
FENCED = "192.0.2.1:0/5"  # this host's, before its boot
PLACES = {name: Place(name, address, (address,), "vm-" + name) for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2"))}
ROSTER = Roster("a", "a", PLACES, (("rbd", ""),), ())


class World:
    """One VM on this host with a disk, and a VBD of a second disk that is not plugged; what the pool and Ceph say of them."""

    def __init__(self) -> None:
        vm = {
            "uuid": "v", "power_state": "Running", "resident_on": "ref-a", "scheduled_to_be_resident_on": NULL,
            "current_operations": {}, "other_config": {}, "order": "0", "memory_static_max": "1", "name_label": "v",
            "is_a_template": False, "is_a_snapshot": False, "is_control_domain": False,
        }  # fmt: skip
        host = {"enabled": True, "other_config": {"shoal:kit": "1"}, "metrics": "metrics"}
        config = {"pool": "rbd", "volumes": "192.0.2.1:7443"}
        pbd = {"SR": "sr", "host": "ref-a", "currently_attached": True, "device_config": config}
        self.tables: dict[str, dict[str, Any]] = {
            "pool": {"pool": {"other_config": {"shoal:ssh-key": "k"}, "ha_enabled": False, "master": "ref-a"}},
            "host": {"ref-" + name: {**host, "uuid": name} for name in PLACES},
            "host_metrics": {"metrics": {"live": True}},
            "PBD": {"pbd": pbd},
            "SR": {"sr": {"type": "rbd"}},
            "VM": {"vm": vm},
            "VDI": {disk: {"location": disk, "current_operations": {}} for disk in ("one", "two")},
            "VBD": {disk: {"VDI": disk, "VM": "vm", "mode": "RW", "empty": False, "currently_attached": disk == "one", "current_operations": {}} for disk in ("one", "two")},
        }  # fmt: skip
        self.held: list[tuple[str, str]] = []
        self.asked: set[tuple[str, str]] = set()
        self.silent: frozenset[tuple[str, str]] = frozenset()

    def vdis_of(self, _expression: str) -> Any:
        return self.tables["VDI"]

    def call(self, method: str, *params: str) -> Any:
        if method == "VDI.get_all_records_where":
            return self.vdis_of(params[0])
        kind, _, what = method.partition(".")
        return self.tables[kind] if what == "get_all_records" else "0"

    def owners(self, places: set[tuple[str, str]]) -> tuple[list[tuple[Any, ...]], frozenset[tuple[str, str]]]:
        self.asked |= places
        found = [(place, image, "1", client) for place in places - self.silent for image, client in self.held]
        return found, self.silent

    def living_owners(self, _place: tuple[str, str], _volume: str) -> set[str]:
        return {OWN, OTHER}

    def fenced(self, _: tuple[str, str]) -> frozenset[str]:
        return frozenset({FENCED})

    def shut_out(self, *held: tuple[str, str]) -> tuple[str, ...]:
        self.held = list(held)
        return failover_look.look(self.call, self, ROSTER, Presence(), {"v": "1"}).shut_out


@pytest.mark.parametrize("client", [FENCED, OTHER])
def test_a_vm_whose_own_disk_is_lost_is_shut_out(client: str) -> None:
    assert World().shut_out(("vdi-one", client)) == ("v",)
    assert World().shut_out(("vdi-one", OWN)) == ()
    assert World().shut_out() == ()


@pytest.mark.parametrize("client", [FENCED, OTHER])
def test_the_lock_of_a_disk_that_is_not_plugged_says_nothing_of_the_vm(client: str) -> None:
    """An old lock is broken by whoever maps the disk; until then it stays, for as long as nobody does."""
    world = World()
    assert world.shut_out(("vdi-one", OWN), ("vdi-two", client)) == ()
    assert world.shut_out(("vdi-two", client)) == ()
    world.tables["VBD"]["two"]["currently_attached"] = True
    assert world.shut_out(("vdi-one", OWN), ("vdi-two", FENCED)) == ("v",)


def test_who_holds_disks_is_asked_of_the_srs_that_there_are_now() -> None:
    """Those of the roster may be ten minutes old: one that was made since would not be fenced, and one that is gone answers nothing."""
    world = World()
    world.tables["PBD"]["pbd"]["device_config"] = {"pool": "rbd", "namespace": "new", "volumes": "192.0.2.1:7443"}
    world.shut_out()
    assert world.asked == {("rbd", "new")}


def test_of_a_vm_with_a_disk_in_a_pool_that_does_not_answer_nothing_is_known() -> None:
    """Its plugged disk is another host's by now; the second one's pool is silent. The claim on it is not forgotten."""
    world = World()
    world.tables["SR"]["second"] = {"type": "rbd"}
    config = {"pool": "slow", "volumes": "192.0.2.1:7443"}
    world.tables["PBD"]["second"] = {**world.tables["PBD"]["pbd"], "SR": "second", "device_config": config}
    every = world.tables["VDI"]
    disks = {'field "SR" = "sr"': {"one": every["one"]}, 'field "SR" = "second"': {"two": every["two"]}}
    world.vdis_of = disks.__getitem__
    assert world.shut_out(("vdi-one", OTHER)) == ("v",)
    world.silent = frozenset({("slow", "")})
    assert world.shut_out(("vdi-one", OTHER)) == ()
    look = lambda: failover_look.look(world.call, world, ROSTER, Presence(), {"v": "1"})  # noqa: E731
    sight = look()
    assert sight.guests == () and sight.silent == {"slow"} and not sight.waits_for_pool
    assert ("b", OTHER) in sight.clients, "it would be fenced, were its host dead"
    world.tables["VM"]["vm"].update(resident_on="ref-b", other_config={"shoal:claim": "a"})
    assert look().strays == () and look().waits_for_pool
    world.silent = frozenset()
    assert look().strays == ("v",) and not look().waits_for_pool
