"""Which clients the volume services take: the dom0 of each host of the spec, and no other. A host that left is out."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict
from shoal.plan.volume_client import client_of
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    hosts = tuple(host.name for host in spec.hosts)
    clients = tuple(client_of(spec, facts, host) for host in hosts)
    change, reason = _judge(facts, hosts, clients)
    needs = frozenset(f"storage_vm_ready/{host}" for host in hosts)
    settings = {"hosts": hosts, "clients": clients}
    return (Action("volume_clients", CEPH_CLUSTER, change, reason, needs=needs, settings=settings),)


def _judge(facts: Facts, hosts: tuple[str, ...], clients: tuple[str, ...]) -> Verdict:
    for host in hosts:
        vm = facts.storage_vm(host)
        if vm is None:
            return Change.CREATE, f"the storage VM of {host} is not there yet"
        if vm.guest is None:
            return Change.UPDATE, f"cannot be seen yet: the storage VM of {host} does not answer"
        known = vm.guest.volume_clients
        if known is None:
            return Change.CREATE, f"the storage VM of {host} has no list"
        if strange := [client for client in known if client not in clients]:
            return Change.UPDATE, f"the volume service of {host} still takes {', '.join(strange)}"
        if missing := [client for client in clients if client not in known]:
            return Change.UPDATE, f"the volume service of {host} does not take {', '.join(missing)}"
    return Change.NONE, f"takes {len(clients)} hosts"
