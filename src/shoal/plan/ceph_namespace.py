"""The RBD namespaces of SRs: a part of a Ceph pool with images of its own, which other users do not see.

Who has rights in a namespace only cannot try out the pool, as RBD does before the first image: so that is done, too.
"""

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
        pools = tuple(pool for pool in (sr.pool, sr.data_pool) if pool)
        change, reason = judge_ceph(facts, _judge, pools, sr.namespace)
        settings = {"pools": pools, "pool": sr.pool, "namespace": sr.namespace}
        needs = frozenset({f"ceph_mgrs/{CEPH_CLUSTER}", *(f"ceph_pool/{pool}" for pool in pools), *osds})
        target = namespace_target(sr.pool, sr.namespace)
        actions.append(Action("ceph_namespace", target, change, reason, needs=needs, settings=settings))
    return tuple(actions)


def _judge(ceph: Ceph, pools: tuple[str, ...], namespace: str) -> Verdict:
    seen = {pool.name: pool for pool in ceph.pools}
    for name in pools:
        if name not in seen:
            return Change.CREATE, f"there is no pool {name!r} yet"
        if seen[name].namespaces is None:
            return Change.UPDATE, f"the namespaces of pool {name!r} cannot be seen yet"
        if not seen[name].is_initialized:
            return Change.CREATE, f"pool {name!r} is not initialized for RBD"
    if namespace not in (seen[pools[0]].namespaces or ()):
        return Change.CREATE, f"pool {pools[0]!r} has no namespace {namespace!r}"
    return Change.NONE, f"it is in pool {pools[0]!r}"
