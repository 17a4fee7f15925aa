"""Files of the volume service on each storage VM: code, configuration, server certificate."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, hidden_ceph
from shoal.plan.volume_client import client_of
from shoal.spec.model import Spec


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    wanted = facts.wanted_digests.get("volume_service", "")
    actions = []
    for host in spec.hosts:
        change, reason = _judge(facts, host.name, wanted)
        needs = frozenset({f"storage_vm_ready/{host.name}", "ceph_cluster/cluster", "ceph_user/client.shoal-volumes"})
        client = client_of(spec, facts, host.name)
        settings = {"address": str(host.storage_vm.address), "digest": wanted, "client": client}
        actions.append(Action("volume_service", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(facts: Facts, host: str, wanted: str) -> Verdict:
    vm = facts.storage_vm(host)
    if vm is None:
        return Change.CREATE, "the storage VM is not there yet"
    if vm.guest is None:
        return Change.UPDATE, "cannot be seen yet: the storage VM does not answer"
    if not vm.guest.volume_service:
        return Change.CREATE, "not installed"
    if vm.guest.volume_service != wanted:
        return Change.UPDATE, "the installed files are not those of this version"
    if facts.ceph and not hidden_ceph(facts) and vm.guest.volume_authority != facts.ceph.certificate_authority:
        return Change.UPDATE, "its certificate is by another CA than the cluster's, or soon over"
    return Change.NONE, "installed"
