"""Monitors: three, or five where there are five hosts or more. An even number would tolerate no further loss."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.ceph_daemons import plan_daemons
from shoal.plan.found import Verdict
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name

MON_V1_PORT = 6789


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    return plan_daemons("ceph_mons", mon_hosts(spec), facts, _judge)


def monitor_addresses(spec: Spec, facts: Facts) -> set[str]:
    """v1 addresses, "10.77.0.21:6789", as the hosts' kernels need them: of those that there are and those to come."""
    if spec.ceph.existing is not None:
        return set(spec.ceph.existing.monitors)
    mons = facts.ceph.mons if facts.ceph else ()
    names, there = {mon.name for mon in mons}, {f"{mon.address}:{mon.v1_port}" for mon in mons if mon.v1_port}
    coming = [host for host in mon_hosts(spec) if storage_vm_name(host.name) not in names]
    return there | {f"{host.storage_vm.address}:{MON_V1_PORT}" for host in coming}


def mon_hosts(spec: Spec) -> tuple[model.Host, ...]:
    count = len(spec.hosts)
    return spec.hosts[: 5 if count >= 5 else 3 if count >= 3 else 1]


def _judge(ceph: Ceph, names: tuple[str, ...]) -> Verdict:
    missing = sorted(set(names) - {mon.name for mon in ceph.mons})
    if missing:
        return Change.UPDATE, f"no monitor on {', '.join(missing)}"
    return Change.NONE, f"{len(ceph.mons)} monitors"
