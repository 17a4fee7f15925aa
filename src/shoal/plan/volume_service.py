"""Files of the volume service on each storage VM: code, configuration, server certificate."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, hidden_ceph
from shoal.plan.volume_client import client_of
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    wanted = facts.wanted_digests.get("volume_service", "")
    actions = []
    for host in spec.hosts:
        change, reason = _judge(facts, host.name, wanted)
        needs = frozenset({f"storage_vm_ready/{host.name}", "ceph_user/client.shoal-volumes"})
        needs |= {f"{kind}/{CEPH_CLUSTER}" for kind in ("ceph_cluster", "volume_clients")}
        needs |= _clients(spec, facts, host.name, wanted)
        client = client_of(spec, facts, host.name)
        settings = {"address": str(host.storage_vm.address), "digest": wanted, "client": client}
        actions.append(Action("volume_service", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _clients(spec: Spec, facts: Facts, host: str, wanted: str) -> frozenset[str]:
    """Code of another version may take certificates by names that only this version gives: those come first.

    Of a dom0 that does not answer nobody waits for one.
    """
    vm = facts.storage_vm(host)
    if vm is None or (vm.guest is not None and vm.guest.volume_service in ("", wanted)):
        return frozenset()
    seen = {host.name for host in facts.hosts if host.dom0}
    return frozenset(f"volume_client/{host.name}" for host in spec.hosts if host.name in seen)


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
