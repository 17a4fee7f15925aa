"""Managers: one that works and one that stands by."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.ceph_daemons import plan_daemons
from shoal.plan.found import Verdict
from shoal.spec.model import Spec


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    return plan_daemons("ceph_mgrs", spec.hosts[:2], facts, _judge)


def _judge(ceph: Ceph, names: tuple[str, ...]) -> Verdict:
    # A manager that is down vanishes from Ceph's map: one lost host is a finding of `status`, not a wish to place more.
    missing = sorted(set(names) - {mgr.host for mgr in ceph.mgrs} - _lost(ceph))
    if missing:
        return Change.UPDATE, f"no manager on {', '.join(missing)}"
    return Change.NONE, f"{len(ceph.mgrs)} managers"


def _lost(ceph: Ceph) -> set[str]:
    """Hosts whose monitor is out of quorum: they are down, and cephadm starts their daemons when they are back."""
    return {mon.name for mon in ceph.mons if not mon.in_quorum}
