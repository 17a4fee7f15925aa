"""Each storage VM is a host of the Ceph cluster."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name

DRAINED = "_no_schedule"  # the orchestrator's label of a host that gets no daemons


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        name, address = storage_vm_name(host.name), str(host.storage_vm.address)
        change, reason = judge_ceph(facts, _judge, name, address)
        needs = frozenset({"ceph_cluster/cluster", f"storage_vm_ready/{host.name}"})
        settings = {"name": name, "address": address, "bootstrap_host": spec.hosts[0].name}
        actions.append(Action("ceph_host", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(ceph: Ceph, name: str, address: str) -> Verdict:
    known = next((host for host in ceph.hosts if host.name == name), None)
    if known is None:
        return Change.CREATE, f"{name} is no host of the cluster"
    if DRAINED in known.labels:
        return Change.UPDATE, "it is closed to daemons: a removal was cut off, or somebody drained it"
    if known.address != address:
        return Change.UPDATE, f"the cluster has it at {known.address}"
    return Change.NONE, f"{name} is a host of the cluster"
