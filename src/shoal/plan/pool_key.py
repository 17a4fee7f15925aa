"""The SSH key of the storage VMs, kept in the pool as a XenAPI secret, so that any workstation can go on."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.spec.model import Spec

KEY = "shoal:ssh-key"  # in pool.other_config; its value is the secret's uuid


def plan(_spec: Spec, facts: Facts) -> tuple[Action, ...]:
    uuid = facts.pool.other_config.get(KEY, "")
    if not uuid:
        return (Action("pool_key", "pool", Change.CREATE, "the pool has no SSH key for storage VMs"),)
    if uuid not in facts.pool.secrets:
        return (Action("pool_key", "pool", Change.CREATE, "the pool names an SSH key that is no longer there"),)
    return (Action("pool_key", "pool", Change.NONE, "the pool has one"),)
