"""A host leaves service: its VMs move away, its SRs are unplugged, its storage VM is shut down. Pure.

Each stage waits for the one before. What is done already is an action with nothing to do, so a run that was killed is
taken up where it stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from shoal.facts import Host, Maintenance, OrdinaryVm, Sr
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.host_ceph import find_never, has_noout, not_clean
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name


def plan(spec: Spec, seen: Maintenance, name: str, *, stop_vms: bool, wait_s: int, reboot: bool = False) -> Plan:
    """`stop_vms`: shut down cleanly what cannot move. `wait_s`: how long Ceph may take until it can spare the host."""
    host = find_host(spec, seen, name)
    if isinstance(host, Problem):
        return Plan((), (host,))
    if problems := tuple(find_problems(spec, seen, host, stop_vms=stop_vms)):
        return Plan((), problems)
    stages = [
        _spare(spec, seen, name, wait_s),
        [_mark(spec, host)],
        [_disable(host)],
        [_leave(vm, name) for vm in residents(seen, name)],
        _left(spec, host),
        [on_host(sr, name, plugged=False) for sr in own_srs(spec, seen, name)],
        _noout(spec, seen, host),
        _storage_vm(spec, seen, name, wait_s),
    ]
    if reboot:
        stages.append([restart(host)])
    return Plan(chain(stages))


def chain(stages: Sequence[Sequence[Action]]) -> tuple[Action, ...]:
    """Each stage's actions need all of the last stage that has any."""
    done: list[Action] = []
    last: frozenset[str] = frozenset()
    for stage in stages:
        done += [replace(action, needs=last) for action in stage]
        last = frozenset(action.id for action in stage) or last
    return tuple(done)


def find_problems(
    spec: Spec, seen: Maintenance, host: Host, *, stop_vms: bool, but: Collection[str] = ()
) -> Iterator[Problem]:
    """Why it must not leave now, whatever is waited for. `but`: hosts that will be back by then."""
    name = host.name
    if seen.ha_enabled:
        yield Problem("the pool's HA is on, and would move or fence by itself", "xe pool-ha-disable")
    if not host.live:
        yield Problem(f"{name} is not live", "look at its power and network")
        return
    if is_serving(seen, name):  # once its storage VM is off, the rest does no more harm
        yield from _of_others(spec, seen, {name, *but})
        yield from _of_ceph(spec, seen, name)
    for vm in residents(seen, name):
        if vm.power_state != "Running":
            what = f"the VM {vm.name} on {name} is {vm.power_state.lower()}: it can neither move nor shut down"
            yield Problem(what, f"xe vm-unpause uuid={vm.uuid}, or shut it down")
        elif vm.cannot_move and not stop_vms:
            what = f"the VM {vm.name} cannot move away from {name}: {vm.cannot_move}"
            yield Problem(what, "--stop-vms shuts down cleanly what cannot move; or shut it down by hand")


def find_host(spec: Spec, seen: Maintenance, name: str) -> Host | Problem:
    known = [host.name for host in spec.hosts]
    if name not in known:
        return Problem(f"the spec has no host {name}", f"its hosts are {', '.join(known)}")
    found = seen.host(name)
    return found or Problem(f"the pool has no host {name}", "add it to the pool, or take it out of the spec")


def is_serving(seen: Maintenance, name: str) -> bool:
    vm = seen.storage_vm(name)
    return vm is not None and vm.power_state != "Halted"


def residents(seen: Maintenance, name: str) -> list[OrdinaryVm]:
    return [vm for vm in seen.vms if vm.host == name]


def own_srs(spec: Spec, seen: Maintenance, name: str) -> list[Sr]:
    """The SRs of the spec that this host has a PBD for."""
    wanted = {sr.name for sr in spec.srs}
    return [sr for sr in seen.srs if sr.name in wanted and sr.shared and any(pbd.host == name for pbd in sr.pbds)]


def on_host(sr: Sr, name: str, *, plugged: bool) -> Action:
    (pbd,) = [pbd for pbd in sr.pbds if pbd.host == name]
    word = "plugged" if plugged else "unplugged"
    change = Change.NONE if pbd.attached == plugged else Change.UPDATE
    reason = f"it is {word}" if change is Change.NONE else f"is {word}"
    settings = {"pbd": pbd.uuid, "plugged": plugged}
    return Action("sr_on_host", f"{sr.name} on {name}", change, reason, name, settings=settings)


def restart(host: Host) -> Action:
    reason = "reboots, and is waited for until its toolstack has started"
    settings = {"boot": host.reboot_due}
    return Action("host_restart", host.name, Change.UPDATE, reason, host.name, settings=settings)


def _of_others(spec: Spec, seen: Maintenance, but: Collection[str]) -> Iterator[Problem]:
    for host in spec.hosts:
        other, vm = seen.host(host.name), seen.storage_vm(host.name)
        if host.name in but or other is None:
            continue
        if not other.live:
            yield Problem(f"{host.name} is away already: it is not live", f"bring {host.name} back first")
        elif other.maintenance:
            what = f"{host.name} is in maintenance already (since {other.maintenance})"
            yield Problem(what, f"shoal host maintenance exit {host.name}")
        elif spec.ceph.existing is None and (vm is None or vm.power_state != "Running"):
            yield Problem(f"{host.name} is away already: its storage VM does not run", "shoal apply")


def _of_ceph(spec: Spec, seen: Maintenance, name: str) -> Iterator[Problem]:
    if spec.ceph.existing is not None:
        return
    if seen.ceph is None:
        yield Problem("there is no Ceph cluster yet", "shoal apply")
    elif seen.ceph.health == "HEALTH_ERR":
        yield Problem(f"Ceph says HEALTH_ERR: {'; '.join(seen.ceph.health_checks)}", "mend that first: shoal status")
    elif seen.ceph.health:
        yield from find_never(seen.ceph, name)


def _spare(spec: Spec, seen: Maintenance, name: str, wait_s: int) -> list[Action]:
    if spec.ceph.existing is not None or seen.ceph is None:
        return []
    settings = {"wait_s": wait_s}
    if not is_serving(seen, name):
        return [Action("ceph_spare", name, Change.NONE, "its storage VM is off already", name, settings=settings)]
    now = not_clean(seen.ceph) or "all is clean now"
    reason = f"waits, at most {wait_s} s, until Ceph can spare its daemons ({now})"
    return [Action("ceph_spare", name, Change.UPDATE, reason, name, settings=settings)]


def _mark(spec: Spec, host: Host) -> Action:
    change, reason = Change.CREATE, "its keeper is to rest"
    if host.maintenance:
        change, reason = Change.NONE, f"it is in maintenance since {host.maintenance}"
    settings = {"marked": True, "leaving": _leaves_in_stages(spec)}
    return Action("host_mark", host.name, change, reason, host.name, settings=settings)


def _left(spec: Spec, host: Host) -> list[Action]:
    """Until then the keepers start its VMs elsewhere if it dies: a run may be killed, or take hours, before that."""
    if not _leaves_in_stages(spec):
        return []
    change, reason = Change.UPDATE, "its VMs have left: from now on it may be away, and is not taken for dead"
    if host.maintenance and not host.leaving:
        change, reason = Change.NONE, "it may be away"
    return [Action("host_left", host.name, change, reason, host.name)]


def _leaves_in_stages(spec: Spec) -> bool:
    """Of a master with no monitor keepers learn within half a minute that it may be away, and it would be by then."""
    return spec.ceph.existing is None


def _disable(host: Host) -> Action:
    change, reason = Change.UPDATE, "is disabled: no VM may start there"
    if not host.enabled:
        change, reason = Change.NONE, "it is disabled"
    return Action("host_enabled", host.name, change, reason, host.name, settings={"enabled": False})


def _leave(vm: OrdinaryVm, name: str) -> Action:
    reason = "moves, running, to another host"
    if vm.cannot_move:
        reason = f"cannot move ({vm.cannot_move}), so it IS SHUT DOWN"
    settings = {"vm": vm.uuid, "host": name, "stop": bool(vm.cannot_move)}
    return Action("vm_away", f"{vm.name} ({vm.uuid[:8]})", Change.UPDATE, reason, name, settings=settings)


def _noout(spec: Spec, seen: Maintenance, host: Host) -> list[Action]:
    if spec.ceph.existing is not None or seen.ceph is None:
        return []
    change, reason = Change.UPDATE, "its OSDs stay in the cluster however long they are down (noout)"
    # A flag alone may be its keeper's, which has an end. The storage VM goes off only after this step.
    if has_noout(seen.ceph, host.name) and host.maintenance and not is_serving(seen, host.name):
        change, reason = Change.NONE, "noout is set for it"
    settings = {"noout": True, "records": _records(spec, seen)}
    return [Action("osd_noout", host.name, change, reason, host.name, settings=settings)]


def _records(spec: Spec, seen: Maintenance) -> tuple[str, ...]:
    """Where its keeper may have written that the flag is its own: the places of Shoal's SRs, "pool/namespace"."""
    places = {f"{sr.pool}/{sr.namespace or ''}" for sr in spec.srs if sr.type == "rbd"}
    configs = [pbd.device_config for sr in seen.srs if sr.type == "rbd" for pbd in sr.pbds]
    places |= {f"{config['pool']}/{config.get('namespace', '')}" for config in configs if "pool" in config}
    return tuple(sorted(places))


def _storage_vm(spec: Spec, seen: Maintenance, name: str, wait_s: int) -> list[Action]:
    vm = seen.storage_vm(name)
    if spec.ceph.existing is not None or vm is None:
        return []
    change, reason = Change.UPDATE, "is shut down cleanly, if Ceph can still spare it"
    if vm.power_state == "Halted":
        change, reason = Change.NONE, "it is off"
    settings = {"name": storage_vm_name(name), "wait_s": wait_s}
    return [Action("storage_vm_off", name, change, reason, name, settings=settings)]
