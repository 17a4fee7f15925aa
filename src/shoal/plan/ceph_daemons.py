"""Daemons that cephadm places on hosts which the plan names: what monitors and managers have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec import model
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name


def plan_daemons(
    kind: str, hosts: Sequence[model.Host], facts: Facts, judge: Callable[[Ceph, tuple[str, ...]], Verdict]
) -> tuple[Action, ...]:
    """`judge` says of the cluster that is seen whether those of the hosts of these names are there."""
    names = tuple(storage_vm_name(host.name) for host in hosts)
    settings = {
        "hosts": tuple(host.name for host in hosts),
        "names": names,
        "addresses": tuple(str(host.storage_vm.address) for host in hosts),
    }
    change, reason = judge_ceph(facts, judge, names)
    needs = frozenset(f"ceph_host/{host.name}" for host in hosts)
    return (Action(kind, CEPH_CLUSTER, change, reason, needs=needs, settings=settings),)
