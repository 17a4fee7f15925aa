"""Three hosts on paper: what each step of work on hosts would change in the next look, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shoal.facts import Ceph, CephPool, Host, Maintenance, Mon, OrdinaryVm, Osd, Pbd, Sr, StorageVm
from shoal.plan.action import Action, Change
from shoal.spec.names import storage_vm_name
from tests.model.world import make_spec

SPEC = make_spec()
NAMES = tuple(host.name for host in SPEC.hosts)
MASTER = NAMES[0]


def at_rest(*vms: OrdinaryVm) -> Maintenance:
    """All is well."""
    up = {"live": True, "enabled": True, "product": "", "memory_total_bytes": 1, "memory_free_bytes": 1}
    hosts = tuple(Host(name, f"uuid-{name}", "192.0.2.1", name == MASTER, **up) for name in NAMES)  # type: ignore[arg-type]
    pbds = {sr.name: tuple(Pbd(f"{sr.name}-{name}", name, True, {}) for name in NAMES) for sr in SPEC.srs}
    srs = tuple(Sr(f"uuid-{sr.name}", sr.name, sr.type, True, pbds[sr.name]) for sr in SPEC.srs)
    storage_vms = tuple(StorageVm(name, f"vm-{name}", "Running", name, "192.0.2.9", {}) for name in NAMES)
    ceph = Ceph(
        fsid="f",
        health="HEALTH_OK",
        mons=tuple(Mon(storage_vm_name(name), "", 6789, True) for name in NAMES),
        osds=tuple(Osd(number, storage_vm_name(name), True, True) for number, name in enumerate(NAMES)),
        pools=(CephPool("rbd", 3, 2),),
        clean_pgs=33,
        pgs=33,
    )
    return Maintenance(hosts, srs, storage_vms, vms, ceph, boots={name: f"boot-1-{name}" for name in NAMES})


def change_host(seen: Maintenance, name: str, **more: object) -> Maintenance:
    return replace(seen, hosts=tuple(replace(host, **more) if host.name == name else host for host in seen.hosts))  # type: ignore[arg-type]


def change_ceph(seen: Maintenance, **more: object) -> Maintenance:
    assert seen.ceph is not None
    return replace(seen, ceph=replace(seen.ceph, **more))  # type: ignore[arg-type]


def set_storage_vm(seen: Maintenance, name: str, power_state: str) -> Maintenance:
    vms = tuple(replace(vm, power_state=power_state) if vm.host == name else vm for vm in seen.storage_vms)
    assert seen.ceph is not None
    own, is_up = storage_vm_name(name), power_state == "Running"
    osds = tuple(replace(osd, up=is_up) if osd.host == own else osd for osd in seen.ceph.osds)
    mons = tuple(replace(mon, in_quorum=is_up) if mon.name == own else mon for mon in seen.ceph.mons)
    clean = seen.ceph.pgs if all(osd.up for osd in osds) else 0
    return change_ceph(replace(seen, storage_vms=vms), osds=osds, mons=mons, clean_pgs=clean)


def do(seen: Maintenance, action: Action) -> Maintenance:
    """The pool after a step. Asserts what the real pool would refuse."""
    if action.change is Change.NONE or action.kind in ("ceph_spare", "ceph_back", "ceph_clean"):
        return seen
    return STEPS[action.kind](seen, action)


def _mark(seen: Maintenance, action: Action) -> Maintenance:
    if action.settings["marked"]:
        return change_host(seen, action.host, maintenance="now", leaving=bool(action.settings["leaving"]))
    return change_host(seen, action.host, maintenance="", leaving=False, reboot_due="")


def _left(seen: Maintenance, action: Action) -> Maintenance:
    assert not [vm for vm in seen.vms if vm.host == action.host], "if it died now, nobody would start these"
    return change_host(seen, action.host, leaving=False)


def _noout(seen: Maintenance, action: Action) -> Maintenance:
    return change_ceph(seen, noout_hosts=(storage_vm_name(action.host),) if action.settings["noout"] else ())


def _stop_storage_vm(seen: Maintenance, action: Action) -> Maintenance:
    assert not any(pbd.attached for sr in seen.srs for pbd in sr.pbds if pbd.host == action.host)
    assert seen.ceph and storage_vm_name(action.host) in seen.ceph.noout_hosts
    assert all(vm.power_state == "Running" for vm in seen.storage_vms)
    return set_storage_vm(seen, action.host, "Halted")


def _start_storage_vm(seen: Maintenance, action: Action) -> Maintenance:
    host = seen.host(action.host)
    assert host is not None and host.enabled
    return set_storage_vm(seen, action.host, "Running")


def _move(seen: Maintenance, action: Action) -> Maintenance:
    def moved(vm: OrdinaryVm) -> OrdinaryVm:
        if vm.uuid != action.settings["vm"]:
            return vm
        if action.kind == "vm_back":
            is_back = bool(action.settings["bring"])
            vm = replace(vm, home="")
            return replace(vm, host=action.host, power_state="Running") if is_back else vm
        if action.settings["stop"]:
            return replace(vm, host="", power_state="Halted", home=action.host)
        places = [host.name for host in seen.hosts if host.enabled and host.name != action.host]
        return replace(vm, host=places[0], home=action.host)

    return replace(seen, vms=tuple(moved(vm) for vm in seen.vms))


def _plug(seen: Maintenance, action: Action) -> Maintenance:
    wanted = bool(action.settings["plugged"])
    if not wanted:
        assert not [vm for vm in seen.vms if vm.host == action.host]

    def plug(pbd: Pbd) -> Pbd:
        return replace(pbd, attached=wanted) if pbd.uuid == action.settings["pbd"] else pbd

    return replace(seen, srs=tuple(replace(sr, pbds=tuple(plug(pbd) for pbd in sr.pbds)) for sr in seen.srs))


def _reboot(seen: Maintenance, action: Action) -> Maintenance:
    """A boot enables the host, and its toolstack plugs what it can."""
    name, old = action.host, seen.boots.get(action.host, "")
    if old and old != action.settings["boot"]:
        return change_host(seen, name, live=True)
    vm = seen.storage_vm(name)
    assert vm is not None and vm.power_state == "Halted"
    boots = {**seen.boots, name: next_boot(str(action.settings["boot"]))}
    return change_host(replace(seen, boots=boots), name, enabled=True, live=True)


def next_boot(boot: str) -> str:
    return f"boot-{int(boot.split('-')[1]) + 1}-{boot.split('-')[2]}"


STEPS: dict[str, Callable[[Maintenance, Action], Maintenance]] = {
    "reboot_due": lambda seen, action: change_host(seen, action.host, reboot_due=action.settings["boot"]),
    "host_mark": _mark,
    "host_left": _left,
    "host_enabled": lambda seen, action: change_host(seen, action.host, enabled=action.settings["enabled"]),
    "vm_away": _move,
    "vm_back": _move,
    "sr_on_host": _plug,
    "osd_noout": _noout,
    "storage_vm_off": _stop_storage_vm,
    "storage_vm_ready": _start_storage_vm,
    "host_restart": _reboot,
}
