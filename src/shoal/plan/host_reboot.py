"""Hosts reboot one at a time. Pure: a host's marks and the boot that its dom0 is in tell how far it is.

A host is due while it carries the mark shoal:reboot with the id of the boot that shall end. `plan` is what a person is
asked, and its steps only set these marks; `next_plan` is made anew from a new look, until no host is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shoal.facts import Host, Maintenance
from shoal.plan import host_enter, host_exit
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.spec.model import Spec


@dataclass(frozen=True, slots=True)
class Options:
    stop_vms: bool = False
    bring_back: bool = False
    wait_s: int = 1800


def choose(spec: Spec, seen: Maintenance, named: Sequence[str]) -> tuple[str, ...]:
    """Those named; none: all, or those that an earlier run has left due. The master last, so that it changes once."""
    every = [host.name for host in spec.hosts]
    due = [host.name for host in seen.hosts if host.reboot_due and host.name in every]
    wanted = list(dict.fromkeys(named)) or due or every
    return tuple(sorted(wanted, key=lambda name: (_is_master(seen, name), name not in due, wanted.index(name))))


def plan(spec: Spec, seen: Maintenance, names: Sequence[str], options: Options) -> Plan:
    problems = [problem for name in names for problem in _find_problems(spec, seen, name, names, options)]
    if problems:
        return Plan((), tuple(dict.fromkeys(problems)))
    return Plan(tuple(_due(seen, name) for name in names))


def next_plan(spec: Spec, seen: Maintenance, names: Sequence[str], options: Options) -> Plan | None:
    """For the first host that is due, or None: on its way out, or, once it is in another boot, back."""
    for name in sorted(names, key=lambda name: not _is_under_way(seen, name)):
        host = seen.host(name)
        if host is None or not host.reboot_due:
            continue
        boot = seen.boots.get(name, "")
        if boot == host.reboot_due and host.live:
            wait_s, stop_vms = options.wait_s, options.stop_vms
            return host_enter.plan(spec, seen, name, stop_vms=stop_vms, wait_s=wait_s, reboot=True)
        if boot == host.reboot_due and host_enter.is_serving(seen, name):
            return Plan(
                (), (Problem(f"{name} is not live, and its storage VM runs", "see its toolstack: xe host-list"),)
            )
        if not boot or boot == host.reboot_due or not host.live:
            return Plan((host_enter.restart(host),))
        back = options.bring_back
        return host_exit.plan(spec, seen, name, bring_back=back, wait_s=options.wait_s, until_clean=True)
    return None


def _find_problems(
    spec: Spec, seen: Maintenance, name: str, names: Sequence[str], options: Options
) -> tuple[Problem, ...]:
    host = host_enter.find_host(spec, seen, name)
    if isinstance(host, Problem):
        return (host,)
    if _is_under_way(seen, name):
        return ()  # to be taken to its end, whatever was seen
    under_way = {other for other in names if _is_under_way(seen, other)}
    found = tuple(host_enter.find_problems(spec, seen, host, stop_vms=options.stop_vms, but=under_way))
    if host.live and name not in seen.boots:
        what = f"dom0 of {name} does not answer, so its boots cannot be told apart"
        found = (*found, Problem(what, f"ssh root@{host.address}"))
    return found


def _due(seen: Maintenance, name: str) -> Action:
    host = seen.host(name)
    assert host is not None, "its absence is a problem"
    settings = {"boot": seen.boots.get(name, "")}
    if host.reboot_due:
        reason = f"an earlier run has left it {'on its way' if host.maintenance else 'to be done'}"
        return Action("reboot_due", name, Change.UPDATE, reason, name, settings={"boot": host.reboot_due})
    reason = f"{_leaving(seen, host)}, unmaps, stops its storage VM, reboots, comes back, and waits until Ceph is clean"
    return Action("reboot_due", name, Change.UPDATE, reason, name, settings=settings)


def _leaving(seen: Maintenance, host: Host) -> str:
    vms = host_enter.residents(seen, host.name)
    stopped = [vm.name for vm in vms if vm.cannot_move]
    moved = [vm.name for vm in vms if not vm.cannot_move]
    parts = [f"moves {', '.join(moved)} away"] if moved else []
    parts += [f"SHUTS DOWN {', '.join(stopped)}"] if stopped else []
    return ", ".join(parts) or "has no VMs now"


def _is_master(seen: Maintenance, name: str) -> bool:
    host = seen.host(name)
    return host is not None and host.is_master


def _is_under_way(seen: Maintenance, name: str) -> bool:
    host = seen.host(name)
    return host is not None and bool(host.reboot_due and host.maintenance)
