"""Each dom0 may ask the volume services: a client certificate, the CA, and which service is its own."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, hidden_ceph
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import VOLUME_SERVICE_PORT


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        change, reason = _judge(facts, host)
        needs = frozenset({f"dom0_kit/{host.name}", "ceph_cluster/cluster"})
        settings = {"address": str(host.storage_vm.address)}
        actions.append(Action("volume_client", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(facts: Facts, host: model.Host) -> Verdict:
    seen = facts.host(host.name)
    if seen is None or seen.dom0 is None:
        return Change.UPDATE, "cannot be seen: dom0 does not answer"
    kit = seen.dom0.kit
    if not kit.has_client_certificate:
        return Change.CREATE, "dom0 has no client certificate"
    wanted = f"{host.storage_vm.address}:{VOLUME_SERVICE_PORT}"
    if kit.volume_service != wanted:
        return Change.UPDATE, f"dom0 asks {kit.volume_service or 'no service'} first, wanted {wanted}"
    if hidden_ceph(facts):
        return Change.NONE, "has a certificate; its CA cannot be compared while Ceph does not answer"
    if facts.ceph is None or not facts.ceph.certificate_authority:
        return Change.UPDATE, "the cluster that its certificate was made for is gone"
    if kit.certificate_authority != facts.ceph.certificate_authority:
        return Change.UPDATE, "its certificate is by another CA than the cluster's"
    return Change.NONE, f"asks {wanted} first"
