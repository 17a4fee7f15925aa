"""A whole life of VMs, driven by the official client."""

from __future__ import annotations

from typing import Any

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import (
    MIB,
    NULL,
    commands,
    log_in,
    make_sr,
    refused,
    vbd_record,
    vdi_record,
    vm_record,
)


def make_vm(api: Any, sr: str, name: str = "guest") -> tuple[str, str]:
    """A VM with one disk; its ref and the VBD's."""
    vm = api.VM.create(vm_record(name))
    return vm, api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(sr))))


def test_a_vm_from_creation_to_its_end(api: Any, pool: LoopbackPool) -> None:
    vm, vbd = make_vm(api, make_sr(api, pool))
    uuid = api.VM.get_uuid(vm)
    api.VM.start(vm, False, False)
    assert api.VM.get_power_state(vm) == "Running"
    (host,) = api.host.get_all()
    assert api.VM.get_resident_on(vm) == host and vm in api.host.get_resident_VMs(host)
    assert (api.VBD.get_device(vbd), api.VBD.get_currently_attached(vbd)) == ("xvda", True)
    plan = pool.master.guests.plans[uuid]
    assert (plan.hvm, plan.kernel, plan.memory_bytes) == (False, "/boot/guest/vmlinuz", 256 * MIB)
    assert plan.disks[0].params.startswith("/storage/")
    assert commands(pool.master)[-3:] == ["vdi_epoch_begin", "vdi_attach", "vdi_activate"]
    assert refused(api.VM.start, vm, False, False) == ["VM_BAD_POWER_STATE", vm, "Halted", "Running"]
    assert refused(api.VM.destroy, vm)[0] == "VM_BAD_POWER_STATE"
    api.VM.clean_shutdown(vm)
    assert commands(pool.master)[-3:] == ["vdi_deactivate", "vdi_detach", "vdi_epoch_end"]
    assert (api.VM.get_power_state(vm), api.VM.get_resident_on(vm)) == ("Halted", NULL)
    api.VM.destroy(vm)
    assert refused(api.VBD.get_uuid, vbd)[0] == "HANDLE_INVALID"


def test_what_the_owner_blocks_is_blocked(api: Any) -> None:
    vm = api.VM.create(vm_record())
    api.VM.add_to_blocked_operations(vm, "start", "not today")
    assert refused(api.VM.start, vm, False, False) == ["OPERATION_BLOCKED", vm, "not today"]
    api.VM.remove_from_blocked_operations(vm, "start")
    api.VM.start(vm, False, False)


def test_a_disk_has_one_writer(three: LoopbackPool) -> None:
    api = log_in(three)
    sr = make_sr(api, three)
    first, vbd = make_vm(api, sr)
    second = api.VM.create(vm_record("second"))
    vdi = api.VBD.get_VDI(vbd)
    api.VBD.create(vbd_record(second, vdi))
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    api.VM.start_on(first, hosts["xen1"], False, False)
    assert refused(api.VM.start_on, second, hosts["xen2"], False, False) == ["VDI_IN_USE", vdi]
    assert api.VM.get_power_state(second) == "Halted"


def test_a_start_that_fails_gives_the_disks_back(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    vm, vbd = make_vm(api, sr)
    (pool.master.root / "storage").rename(pool.master.root / "gone")
    assert refused(api.VM.start, vm, False, False)[0] == "SR_BACKEND_FAILURE_47"
    assert api.VBD.get_currently_attached(vbd) is False
    assert api.VM.get_power_state(vm) == "Halted"
    (pool.master.root / "gone").rename(pool.master.root / "storage")
    api.VM.start(vm, False, False)


def test_where_a_vm_can_start(three: LoopbackPool) -> None:
    api = log_in(three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    sr = make_sr(api, three)
    vm, _ = make_vm(api, sr)
    assert set(api.VM.get_possible_hosts(vm)) == set(hosts.values())
    api.host.disable(hosts["xen2"])
    assert refused(api.VM.start_on, vm, hosts["xen2"], False, False) == ["HOST_DISABLED", hosts["xen2"]]
    (pbd,) = [ref for ref in api.SR.get_PBDs(sr) if api.PBD.get_host(ref) == hosts["xen3"]]
    api.PBD.unplug(pbd)
    assert refused(api.VM.start_on, vm, hosts["xen3"], False, False) == ["VM_REQUIRES_SR", vm, sr]
    assert api.VM.get_possible_hosts(vm) == [hosts["xen1"]]
    big = api.VM.create(vm_record("big", 64 * 1024 * MIB))
    assert refused(api.VM.start, big, False, False) == ["NO_HOSTS_AVAILABLE"]
    assert refused(api.VM.start_on, big, hosts["xen1"], False, False)[0] == "HOST_NOT_ENOUGH_FREE_MEMORY"


def test_templates(api: Any) -> None:
    (template,) = api.VM.get_by_name_label("Other install media")
    assert refused(api.VM.start, template, False, False) == ["VM_IS_TEMPLATE", template]
    vm = api.VM.clone(template, "storage vm")
    assert api.VM.get_is_a_template(vm) is True
    api.VM.provision(vm)
    api.VM.set_memory_limits(vm, "1", str(64 * MIB), str(64 * MIB), str(64 * MIB))
    assert (api.VM.get_is_a_template(vm), api.VM.get_HVM_boot_policy(vm)) == (False, "BIOS order")


def test_positions_of_disks_and_interfaces(api: Any, pool: LoopbackPool) -> None:
    sr = make_sr(api, pool)
    vm, vbd = make_vm(api, sr)
    vdi = api.VDI.create(vdi_record(sr))
    assert refused(api.VBD.create, vbd_record(vm, vdi)) == ["DEVICE_ALREADY_EXISTS", "0"]
    assert refused(api.VBD.create, vbd_record(vm, vdi, userdevice="99")) == ["INVALID_DEVICE", "99"]
    other = api.VBD.create(vbd_record(vm, vdi, userdevice="autodetect"))
    assert api.VBD.get_userdevice(other) == "1"
    assert refused(api.VBD.plug, other)[0] == "VM_BAD_POWER_STATE"
    api.VBD.destroy(other)
    (network,) = api.network.get_all()
    vif = {"device": "0", "network": network, "VM": vm, "MAC": "", "MTU": "1500", "other_config": {},
           "qos_algorithm_type": "", "qos_algorithm_params": {}}  # fmt: skip
    made = api.VIF.create(vif)
    assert len(api.VIF.get_MAC(made).split(":")) == 6 and api.VIF.get_MAC_autogenerated(made) is True
    assert refused(api.VIF.create, vif) == ["DEVICE_ALREADY_EXISTS", "0"]
    api.VM.start(vm, False, False)
    hot = api.VBD.create(vbd_record(vm, vdi, userdevice="3", bootable=False))
    api.VBD.plug(hot)
    assert api.VBD.get_device(hot) == "xvdd"
    assert refused(api.VBD.destroy, hot)[0] == "OPERATION_NOT_ALLOWED"
    api.VBD.unplug(hot)
    assert refused(api.VBD.unplug, hot) == ["DEVICE_ALREADY_DETACHED", hot]
    assert vbd in api.VM.get_VBDs(vm)


def test_a_vm_of_a_lost_host_is_declared_off_and_starts_elsewhere(three: LoopbackPool) -> None:
    api = log_in(three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    vm, _ = make_vm(api, make_sr(api, three))
    api.VM.start_on(vm, hosts["xen2"], False, False)
    three.hosts["xen2"].stop()
    assert refused(api.VM.hard_shutdown, vm) == ["CANNOT_CONTACT_HOST", hosts["xen2"]]
    api.VM.set_blocked_operations(vm, {"power_state_reset": "xapi does not look"})
    three.master.toolstack.db.set("VM", vm, scheduled_to_be_resident_on=hosts["xen1"])  # it was about to move
    api.VM.power_state_reset(vm)
    assert (api.VM.get_power_state(vm), api.VM.get_scheduled_to_be_resident_on(vm)) == ("Halted", NULL)
    api.VM.start_on(vm, hosts["xen3"], False, False)
    assert api.VM.get_resident_on(vm) == hosts["xen3"]


def test_a_vm_that_runs_here_is_not_declared_off(api: Any, pool: LoopbackPool) -> None:
    vm, _ = make_vm(api, make_sr(api, pool))
    api.VM.start(vm, False, False)
    assert refused(api.VM.power_state_reset, vm)[0] == "OPERATION_NOT_ALLOWED"
    (dom0,) = [ref for ref, row in api.VM.get_all_records().items() if row["is_control_domain"]]
    assert refused(api.VM.power_state_reset, dom0) == ["CANNOT_RESET_CONTROL_DOMAIN", dom0]
