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
        self.asked: list[tuple[str, str]] = []

    def call(self, method: str, *_: str) -> Any:
        if method == "VDI.get_all_records_where":
            return self.tables["VDI"]
        kind, _, what = method.partition(".")
        return self.tables[kind] if what == "get_all_records" else "0"

    def owners(self, place: tuple[str, str]) -> list[tuple[str, str]]:
        self.asked.append(place)
        return self.held

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
    assert world.asked == [("rbd", "new")]
