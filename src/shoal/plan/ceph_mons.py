"""Monitors: three, or five where there are five hosts or more. An even number would tolerate no further loss."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    hosts = mon_hosts(spec)
    names = tuple(storage_vm_name(host.name) for host in hosts)
    settings = {
        "hosts": tuple(host.name for host in hosts),
        "names": names,
        "addresses": tuple(str(host.storage_vm.address) for host in hosts),
    }
    change, reason = judge_ceph(facts, _judge, names)
    needs = frozenset(f"ceph_host/{host.name}" for host in hosts)
    return (Action("ceph_mons", CEPH_CLUSTER, change, reason, needs=needs, settings=settings),)


def mon_hosts(spec: Spec) -> tuple[model.Host, ...]:
    count = len(spec.hosts)
    return spec.hosts[: 5 if count >= 5 else 3 if count >= 3 else 1]


def _judge(ceph: Ceph, names: tuple[str, ...]) -> Verdict:
    missing = sorted(set(names) - {mon.name for mon in ceph.mons})
    if missing:
        return Change.UPDATE, f"no monitor on {', '.join(missing)}"
    return Change.NONE, f"{len(ceph.mons)} monitors"
