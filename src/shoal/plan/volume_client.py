"""Each dom0 may ask the volume services: a client certificate, the CA, and which service is its own."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, hidden_ceph
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import VOLUME_SERVICE_PORT, client_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        change, reason = _judge(spec, facts, host)
        needs = frozenset({f"dom0_kit/{host.name}", "ceph_cluster/cluster"})
        settings = {"service": own_service(spec, host), "client": client_of(spec, facts, host.name)}
        actions.append(Action("volume_client", host.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def client_of(spec: Spec, facts: Facts, host: str) -> str:
    """What its certificate calls it. A cluster of somebody else's is told of it before anybody looks at the pool."""
    seen = facts.host(host)
    return client_name(host, seen.uuid if seen and spec.ceph.existing is None else "")


def own_service(spec: Spec, host: model.Host) -> str:
    """The volume service that a host asks first. Those of an existing cluster are shared out among the hosts."""
    if spec.ceph.existing is None:
        return f"{host.storage_vm.address}:{VOLUME_SERVICE_PORT}"
    services = spec.ceph.existing.volume_services
    return services[spec.hosts.index(host) % len(services)]


def _judge(spec: Spec, facts: Facts, host: model.Host) -> Verdict:
    seen = facts.host(host.name)
    if seen is None or seen.dom0 is None:
        return Change.UPDATE, "cannot be seen: dom0 does not answer"
    kit = seen.dom0.kit
    if not kit.has_client_certificate:
        return Change.CREATE, "dom0 has no client certificate"
    wanted, client = own_service(spec, host), client_of(spec, facts, host.name)
    if kit.client != client:
        return Change.UPDATE, f"its certificate is that of {kit.client or 'nobody'!r}, wanted {client!r}"
    if kit.volume_service != wanted:
        return Change.UPDATE, f"dom0 asks {kit.volume_service or 'no service'} first, wanted {wanted}"
    if spec.ceph.existing is not None:
        if kit.certificate_authority != facts.wanted_digests.get("authority", ""):
            return Change.UPDATE, "its certificate is by another CA than ceph.existing.authority"
        return Change.NONE, f"asks {wanted} first"
    if hidden_ceph(facts):
        return Change.NONE, "has a certificate; its CA cannot be compared while Ceph does not answer"
    if facts.ceph is None or not facts.ceph.certificate_authority:
        return Change.UPDATE, "the cluster that its certificate was made for is gone"
    if kit.certificate_authority != facts.ceph.certificate_authority:
        return Change.UPDATE, "its certificate is by another CA than the cluster's"
    return Change.NONE, f"asks {wanted} first"
