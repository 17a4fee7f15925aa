"""A toolstack restart where the driver is new to it: xapi looks at its drivers only when it starts.

One host at a time, the master first, and after the storage VMs are up: so it never cuts off an import.
"""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.dom0_kit import SR_TYPE
from shoal.plan.found import Verdict
from shoal.spec.model import Spec


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    names = sorted((host.name for host in spec.hosts), key=lambda name: name != facts.pool.master)
    before = {f"{kind}/{name}" for kind in ("dom0_kit", "storage_vm_ready") for name in names}
    wanted = facts.wanted_digests.get("kit", "")
    actions, previous = [], frozenset[str]()
    for name in names:
        change, reason = _judge(facts, name, wanted)
        settings = {"type": SR_TYPE, "kit": wanted}
        actions.append(Action("toolstack", name, change, reason, name, previous | before, settings))
        previous = frozenset({f"toolstack/{name}"})
    return tuple(actions)


def _judge(facts: Facts, name: str, wanted: str) -> Verdict:
    host = facts.host(name)
    if SR_TYPE not in facts.pool.sm_types:
        return Change.UPDATE, f"the pool does not know SRs of type {SR_TYPE}; it looks when the toolstack restarts"
    if host is None or host.toolstack_kit != wanted:
        return Change.UPDATE, "the toolstack has not been restarted since the driver was installed"
    return Change.NONE, f"knows SRs of type {SR_TYPE}"
