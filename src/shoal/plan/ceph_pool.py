"""The Ceph pools that SRs are in, and those that they keep their data in."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan import ceph_settings
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    tuning = ceph_settings.tuning(spec, facts)
    actions = []
    for name in dict.fromkeys(pool for sr in spec.srs for pool in (sr.pool, sr.data_pool) if pool):
        change, reason = judge_ceph(facts, _judge, name, spec)
        settings = {
            "replicas": spec.ceph.replicas,
            "min_replicas": spec.ceph.min_replicas,
            "allowed_ciphers": tuning.allowed_ciphers,
            "min_compat_client": tuning.min_compat_client,
        }
        needs = frozenset({"ceph_settings/cluster"})
        actions.append(Action("ceph_pool", name, change, reason, needs=needs, settings=settings))
    return tuple(actions)


def _judge(ceph: Ceph, name: str, spec: Spec) -> Verdict:
    pool = next((pool for pool in ceph.pools if pool.name == name), None)
    if pool is None:
        return Change.CREATE, f"there is no pool {name!r}"
    if pool.size != spec.ceph.replicas:
        return Change.UPDATE, f"it keeps {pool.size} replicas, wanted {spec.ceph.replicas}"
    if pool.min_size != spec.ceph.min_replicas:
        return Change.UPDATE, f"its min_size is {pool.min_size}, wanted {spec.ceph.min_replicas}"
    if "rbd" not in pool.applications:
        return Change.UPDATE, "it is not marked for rbd"
    return Change.NONE, f"{pool.size} replicas, min_size {pool.min_size}"
