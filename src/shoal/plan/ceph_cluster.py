"""The Ceph cluster itself: bootstrapped once, on the first host's storage VM."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan import ceph_settings
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    first = spec.hosts[0]
    older = _older(spec, facts)
    tuning = ceph_settings.tuning(spec, facts)
    settings = {
        "host": first.name,
        "name": storage_vm_name(first.name),
        "address": str(first.storage_vm.address),
        "cidr": str(spec.network.public.cidr),
        "image": spec.ceph.image,
        "osd_memory_bytes": spec.ceph.osd_memory,
        "ssh_hosts": tuple(host.name for host in spec.hosts),
        "settings": ceph_settings.wanted(spec, facts),
        "allowed_ciphers": tuning.allowed_ciphers,
        "min_compat_client": tuning.min_compat_client,
        "older": older,
    }
    change, reason = judge_ceph(facts, _judge)
    needs = frozenset(f"storage_vm_ready/{host}" for host in (first.name, *older))
    return (Action("ceph_cluster", CEPH_CLUSTER, change, reason, first.name, needs, settings),)


def _older(spec: Spec, facts: Facts) -> tuple[str, ...]:
    """Whose storage VM was there before, and may have the cluster: each must say that it has none before one is made.

    The first host may be a new one, in the place of one that died.
    """
    if facts.ceph is not None:
        return ()
    return tuple(host.name for host in spec.hosts[1:] if facts.storage_vm(host.name) is not None)


def _judge(ceph: Ceph) -> Verdict:
    return Change.NONE, f"cluster {ceph.fsid}"
