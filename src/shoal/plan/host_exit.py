"""A host comes back into service: the way out of `host_enter`, in reverse. Pure.

It is enabled first, although its SRs are still unplugged: xapi starts no VM on a disabled host, its storage VM neither.
"""

from __future__ import annotations

from shoal.facts import Host, Maintenance, OrdinaryVm
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.host_ceph import has_noout, not_back, not_clean
from shoal.plan.host_enter import chain, find_host, on_host, own_srs
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name


def plan(spec: Spec, seen: Maintenance, name: str, *, bring_back: bool, wait_s: int, until_clean: bool = False) -> Plan:
    """`until_clean`: wait until nothing is left to recover, and not only for the host's own daemons."""
    host = find_host(spec, seen, name)
    if isinstance(host, Problem):
        return Plan((), (host,))
    if not host.live:
        return Plan((), (Problem(f"{name} is not live", "switch it on, and wait until its toolstack has started"),))
    change, reason = (Change.NONE, "it is enabled") if host.enabled else (Change.UPDATE, "is enabled")
    enable = Action("host_enabled", name, change, reason, name, settings={"enabled": True})
    is_marked = bool(host.maintenance or host.reboot_due)
    change, reason = (Change.UPDATE, "its keeper goes on") if is_marked else (Change.NONE, "it is not in maintenance")
    unmark = Action("host_mark", name, change, reason, name, settings={"marked": False})
    stages = [
        [_started(host)] if host.reboot_due and not host.enabled else [],
        [enable],
        _storage_vm(spec, seen, name),
        _daemons(spec, seen, name, wait_s, until_clean=False),
        [on_host(sr, name, plugged=True) for sr in own_srs(spec, seen, name)],
        _noout(spec, seen, name),
        _daemons(spec, seen, name, wait_s, until_clean=True) if until_clean else [],
        [unmark],
        [_return(vm, name, bring_back=bring_back) for vm in seen.vms if vm.home == name],
    ]
    return Plan(chain(stages))


def _started(host: Host) -> Action:
    """A run that was killed while the host was away has not seen its toolstack's start through, which finds drivers."""
    settings = {"boot": host.reboot_due}
    return Action("host_restart", host.name, Change.UPDATE, "waits until it is back", host.name, settings=settings)


def _storage_vm(spec: Spec, seen: Maintenance, name: str) -> list[Action]:
    vm = seen.storage_vm(name)
    if spec.ceph.existing is not None or vm is None:
        return []
    change, reason = Change.UPDATE, f"it is {vm.power_state.lower()}"
    if vm.power_state == "Running":
        change, reason = Change.NONE, "it runs"
    settings = {"name": storage_vm_name(name), "address": vm.address}
    return [Action("storage_vm_ready", name, change, reason, name, settings=settings)]


def _daemons(spec: Spec, seen: Maintenance, name: str, wait_s: int, *, until_clean: bool) -> list[Action]:
    if spec.ceph.existing is not None:
        return []
    vm, lack = seen.storage_vm(name), "it was not seen yet"
    if seen.ceph is not None:
        lack = not_back(seen.ceph, name) or (not_clean(seen.ceph) if until_clean else "")
    if vm is None or vm.power_state != "Running":
        lack = lack or "its storage VM is off"
    what = "all is clean" if until_clean else "its monitor and OSDs are back"
    change, reason = Change.NONE, what
    if lack:
        change, reason = Change.UPDATE, f"waits, at most {wait_s} s, until {what} ({lack})"
    kind = "ceph_clean" if until_clean else "ceph_back"
    return [Action(kind, name, change, reason, name, settings={"wait_s": wait_s})]


def _noout(spec: Spec, seen: Maintenance, name: str) -> list[Action]:
    if spec.ceph.existing is not None:
        return []
    is_set = seen.ceph is None or not seen.ceph.health or has_noout(seen.ceph, name)
    change, reason = (Change.UPDATE, "noout is taken back") if is_set else (Change.NONE, "noout is not set for it")
    return [Action("osd_noout", name, change, reason, name, settings={"noout": False})]


def _return(vm: OrdinaryVm, name: str, *, bring_back: bool) -> Action:
    is_off = vm.power_state == "Halted"
    where = "it is off" if is_off else f"it runs on {vm.host}" if vm.host else f"it is {vm.power_state.lower()}"
    can_come = is_off or (vm.power_state == "Running" and vm.host != name)
    if bring_back and can_come:
        reason = f"{where}, and {'is started on' if is_off else 'moves back to'} {name}"
    else:
        reason = f"{where}, and stays so" + ("" if vm.host == name else "; --bring-back would bring it back")
    settings = {"vm": vm.uuid, "host": name, "bring": bring_back and can_come}
    return Action("vm_back", f"{vm.name} ({vm.uuid[:8]})", Change.UPDATE, reason, name, settings=settings)
