"""Each storage VM runs on its host, has set itself up, and its Docker answers."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        change, reason = _judge(facts, host.name)
        needs = frozenset({f"storage_vm/{host.name}"})
        settings = {"name": storage_vm_name(host.name), "address": str(host.storage_vm.address)}
        actions.append(Action("storage_vm_ready", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(facts: Facts, host: str) -> Verdict:
    vm = facts.storage_vm(host)
    if vm is None:
        return Change.CREATE, "it is not there yet"
    if vm.power_state != "Running":
        return Change.UPDATE, f"its power state is {vm.power_state}"
    if vm.resident_on and vm.resident_on != host:
        return Change.UPDATE, f"it runs on {vm.resident_on}, and its disks are on {host}"
    if vm.guest is None:
        return Change.UPDATE, f"it does not answer: {vm.unreachable or 'no reason known'}"
    if not vm.guest.is_ready:
        return Change.UPDATE, "it is still setting itself up"
    return Change.NONE, "it runs and answers"
