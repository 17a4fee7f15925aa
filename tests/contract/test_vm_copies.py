"""VMs with disks: snapshot, revert, clone, copy; and one that moves while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import NULL, commands, log_in, make_sr, refused, vbd_record, vdi_record, vm_record


class Guest:
    """A VM with two disks and a network interface."""

    def __init__(self, api: Any, pool: LoopbackPool) -> None:
        self.api, self.storage = api, pool.master.root / "storage"
        self.sr = make_sr(api, pool)
        self.vm = api.VM.create(vm_record(other_config={"k": "v"}, name_description="as made"))
        self.disks = [api.VDI.create(vdi_record(self.sr)) for _ in range(2)]
        for position, vdi in enumerate(self.disks):
            api.VBD.create(vbd_record(self.vm, vdi, userdevice=str(position), other_config={"backend-kind": "vbd"}))
        (network,) = api.network.get_all()
        vif = {"device": "0", "network": network, "VM": self.vm, "MAC": "", "MTU": "1500", "other_config": {},
               "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
        self.mac = api.VIF.get_MAC(api.VIF.create(vif))

    def disks_of(self, vm: str) -> list[str]:
        rows = [self.api.VBD.get_record(vbd) for vbd in self.api.VM.get_VBDs(vm)]
        return [row["VDI"] for row in sorted(rows, key=lambda row: row["userdevice"])]

    def file(self, vdi: str) -> Path:
        return self.storage / str(self.api.VDI.get_location(vdi))

    def fill(self, text: str) -> None:
        for vdi in self.disks:
            self.file(vdi).write_text(text)


@pytest.fixture
def guest(api: Any, pool: LoopbackPool) -> Guest:
    return Guest(api, pool)


def test_a_snapshot_of_a_running_vm(guest: Guest) -> None:
    api, vm = guest.api, guest.vm
    api.VM.start(vm, False, False)
    guest.fill("then")
    snapshot = api.VM.snapshot(vm, "yesterday", [])
    row = api.VM.get_record(snapshot)
    assert (row["is_a_snapshot"], row["is_a_template"], row["snapshot_of"]) == (True, True, vm)
    assert (row["power_state"], row["name_label"], row["parent"]) == ("Halted", "yesterday", NULL)
    assert row["snapshot_info"]["power-state-at-snapshot"] == "Running" and str(row["snapshot_time"]) > "2020"
    assert api.VM.get_parent(vm) == snapshot and api.VM.get_snapshots(vm) == [snapshot]
    taken = guest.disks_of(snapshot)
    assert [api.VDI.get_snapshot_of(vdi) for vdi in taken] == guest.disks
    (vbd, _) = api.VM.get_VBDs(snapshot)
    assert api.VBD.get_other_config(vbd) == {"backend-kind": "vbd", "owner": ""}
    assert [api.VIF.get_MAC(vif) for vif in row["VIFs"]] == [guest.mac]
    assert refused(api.VM.start, snapshot, False, False) == ["VM_IS_TEMPLATE", snapshot]
    first_only = api.VM.snapshot(vm, "half", [guest.disks[1]])
    assert len(guest.disks_of(first_only)) == 1
    api.VM.destroy(first_only)
    api.VM.destroy(snapshot)
    assert api.VM.get_parent(vm) == NULL
    assert api.VDI.get_is_a_snapshot(taken[0]) is True, "as in xapi, a VM's end is not its disks' end"


def test_a_vm_goes_back(guest: Guest) -> None:
    api, vm = guest.api, guest.vm
    guest.fill("then")
    snapshot = api.VM.snapshot(vm, "yesterday", [])
    guest.fill("now")
    api.VM.set_name_description(vm, "changed")
    api.VM.start(vm, False, False)
    api.VM.revert(snapshot)
    row = api.VM.get_record(vm)
    assert (row["power_state"], row["name_label"], row["name_description"]) == ("Halted", "guest", "as made")
    assert (row["is_a_snapshot"], row["is_a_template"], row["parent"]) == (False, False, snapshot)
    assert guest.disks_of(vm) == guest.disks
    assert [guest.file(vdi).read_text() for vdi in guest.disks] == ["then", "then"]
    api.VM.revert(snapshot)
    api.VM.start(vm, False, False)
    assert refused(api.VM.revert, vm) == ["ONLY_REVERT_SNAPSHOT"]


def test_where_a_driver_does_not_revert_the_disks_are_clones(guest: Guest) -> None:
    api, vm = guest.api, guest.vm
    guest.fill("then")
    snapshot = api.VM.snapshot(vm, "yesterday", [])
    guest.fill("now")
    (guest.storage / "answers-38").write_text("vdi_revert")
    api.VM.revert(snapshot)
    disks = guest.disks_of(vm)
    assert set(disks).isdisjoint(guest.disks) and [guest.file(vdi).read_text() for vdi in disks] == ["then", "then"]
    assert refused(api.VDI.get_uuid, guest.disks[0])[0] == "HANDLE_INVALID"
    assert [api.VDI.get_snapshot_of(vdi) for vdi in guest.disks_of(snapshot)] == disks
    assert len(api.SR.get_VDIs(guest.sr)) == 4


def test_an_error_of_a_driver_is_no_reason_to_clone(guest: Guest) -> None:
    api = guest.api
    snapshot = api.VM.snapshot(guest.vm, "yesterday", [])
    guest.file(guest.disks_of(snapshot)[0]).unlink()  # now the driver breaks over it
    assert refused(api.VM.revert, snapshot) == ["VM_REVERT_FAILED", snapshot, guest.vm]
    assert api.VDI.get_uuid(guest.disks[0])


@pytest.mark.parametrize("how", ["clone", "copy"])
def test_a_second_vm_like_it(guest: Guest, how: str) -> None:
    api = guest.api
    guest.fill("content" * 1000)
    more = [] if how == "clone" else [guest.sr]
    twin = getattr(api.VM, how)(guest.vm, "twin", *more)
    row = api.VM.get_record(twin)
    assert (row["name_label"], row["is_a_snapshot"], row["power_state"]) == ("twin", False, "Halted")
    assert row["other_config"]["k"] == "v" and "mac_seed" in row["other_config"]
    disks = guest.disks_of(twin)
    assert set(disks).isdisjoint(guest.disks)
    assert [guest.file(vdi).read_text().rstrip("\0") for vdi in disks] == ["content" * 1000] * 2
    assert [api.VIF.get_MAC(vif) for vif in row["VIFs"]] != [guest.mac]
    api.VM.start(guest.vm, False, False)
    api.VM.start(twin, False, False)
    assert refused(getattr(api.VM, how), guest.vm, "third", *more)[0] == "VM_BAD_POWER_STATE"


def test_what_fails_leaves_nothing(guest: Guest) -> None:
    api = guest.api
    before = (set(api.VDI.get_all()), set(api.VM.get_all()))
    guest.file(guest.disks[1]).unlink()
    assert refused(api.VM.snapshot, guest.vm, "no", [])[0] != ""
    assert (set(api.VDI.get_all()), set(api.VM.get_all())) == before
    assert api.VM.get_current_operations(guest.vm) == {}


def test_a_vm_moves_to_another_host(three: LoopbackPool) -> None:
    api = log_in(three)
    guest = Guest(api, three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    api.VM.start_on(guest.vm, hosts["xen2"], False, False)
    asked = {name: len(commands(three.hosts[name])) for name in ("xen2", "xen3")}
    api.VM.pool_migrate(guest.vm, hosts["xen3"], {"live": "true"})
    assert (api.VM.get_resident_on(guest.vm), api.VM.get_power_state(guest.vm)) == (hosts["xen3"], "Running")
    own = api.VM.get_uuid(guest.vm)
    assert own in three.hosts["xen3"].guests.plans and own not in three.hosts["xen2"].guests.plans
    assert commands(three.hosts["xen2"])[asked["xen2"] :] == ["vdi_deactivate"] * 2 + ["vdi_detach"] * 2
    assert commands(three.hosts["xen3"])[asked["xen3"] :] == ["vdi_attach", "vdi_activate"] * 2
    assert all(api.VBD.get_currently_attached(vbd) for vbd in api.VM.get_VBDs(guest.vm))
    states = [list((three.hosts[name].root / "var/tmp/lab-state").iterdir()) for name in ("xen2", "xen3")]
    assert states == [[], []], "what was saved is left"
    api.VM.clean_shutdown(guest.vm)


def test_a_vm_that_cannot_go_on_there_goes_on_here(three: LoopbackPool) -> None:
    api = log_in(three)
    guest = Guest(api, three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    api.VM.start_on(guest.vm, hosts["xen2"], False, False)
    (three.hosts["xen3"].root / "opt/xensource/sm/SMALLSR").write_text("#!/bin/sh\nexit 1\n")
    assert refused(api.VM.pool_migrate, guest.vm, hosts["xen3"], {})[0] == "SR_BACKEND_FAILURE"
    assert (api.VM.get_resident_on(guest.vm), api.VM.get_power_state(guest.vm)) == (hosts["xen2"], "Running")
    assert api.VM.get_uuid(guest.vm) in three.hosts["xen2"].guests.plans
    (pbd,) = [ref for ref in api.SR.get_PBDs(guest.sr) if api.PBD.get_host(ref) == hosts["xen1"]]
    api.PBD.unplug(pbd)
    assert refused(api.VM.pool_migrate, guest.vm, hosts["xen1"], {}) == ["VM_REQUIRES_SR", guest.vm, guest.sr]
    (template,) = api.VM.get_by_name_label("Other install media")
    assert refused(api.VM.pool_migrate, template, hosts["xen1"], {})[0] == "VM_IS_TEMPLATE"
