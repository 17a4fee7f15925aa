"""The RBD namespaces of SRs: a part of a Ceph pool with images of its own, which other users do not see."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph, numbered_disks
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, disk_target, namespace_target


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    # Making one writes: to placement groups that are not active it would wait.
    osds = {f"ceph_osd/{disk_target(host.name, number)}" for host, number, _ in numbered_disks(spec)}
    actions = []
    for sr in spec.srs:
        if sr.namespace is None:
            continue
        change, reason = judge_ceph(facts, _judge, sr.pool, sr.namespace)
        settings = {"pool": sr.pool, "namespace": sr.namespace}
        needs = frozenset({f"ceph_pool/{sr.pool}", f"ceph_mgrs/{CEPH_CLUSTER}", *osds})
        target = namespace_target(sr.pool, sr.namespace)
        actions.append(Action("ceph_namespace", target, change, reason, needs=needs, settings=settings))
    return tuple(actions)


def _judge(ceph: Ceph, pool: str, namespace: str) -> Verdict:
    seen = next((found for found in ceph.pools if found.name == pool), None)
    if seen is None:
        return Change.CREATE, f"there is no pool {pool!r} yet"
    if seen.namespaces is None:
        return Change.UPDATE, f"the namespaces of pool {pool!r} cannot be seen yet"
    if namespace not in seen.namespaces:
        return Change.CREATE, f"pool {pool!r} has no namespace {namespace!r}"
    return Change.NONE, f"it is in pool {pool!r}"
