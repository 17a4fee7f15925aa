"""Managers: one that works and one that stands by."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    hosts = spec.hosts[:2]
    names = tuple(storage_vm_name(host.name) for host in hosts)
    settings = {
        "hosts": tuple(host.name for host in hosts),
        "names": names,
        "addresses": tuple(str(host.storage_vm.address) for host in hosts),
    }
    change, reason = judge_ceph(facts, _judge, names)
    needs = frozenset(f"ceph_host/{host.name}" for host in hosts)
    return (Action("ceph_mgrs", CEPH_CLUSTER, change, reason, needs=needs, settings=settings),)


def _judge(ceph: Ceph, names: tuple[str, ...]) -> Verdict:
    # A manager that is down vanishes from Ceph's map: one lost host is a finding of `status`, not a wish to place more.
    missing = sorted(set(names) - {mgr.host for mgr in ceph.mgrs} - _lost(ceph))
    if missing:
        return Change.UPDATE, f"no manager on {', '.join(missing)}"
    return Change.NONE, f"{len(ceph.mgrs)} managers"


def _lost(ceph: Ceph) -> set[str]:
    """Hosts whose monitor is out of quorum: they are down, and cephadm starts their daemons when they are back."""
    return {mon.name for mon in ceph.mons if not mon.in_quorum}
