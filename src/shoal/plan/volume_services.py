"""The volume service runs on every storage VM, as a container that cephadm watches."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan import volume_service
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph
from shoal.spec.model import Spec
from shoal.spec.names import CEPH_CLUSTER, VOLUME_SERVICE, storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    files = volume_service.plan(spec, facts)
    change, reason = judge_ceph(facts, _judge, facts, files)
    needs = {action.id for action in files} | {f"ceph_host/{host.name}" for host in spec.hosts}
    needs.add(f"volume_clients/{CEPH_CLUSTER}")  # a service without a list takes nobody
    settings = {
        "hosts": tuple(host.name for host in spec.hosts),
        "names": tuple(storage_vm_name(host.name) for host in spec.hosts),
        "image": spec.ceph.image,
    }
    return (Action("volume_services", CEPH_CLUSTER, change, reason, needs=frozenset(needs), settings=settings),)


def _judge(ceph: Ceph, facts: Facts, files: tuple[Action, ...]) -> Verdict:
    changed = [action.target for action in files if action.change is not Change.NONE]
    if VOLUME_SERVICE not in ceph.services:
        return Change.CREATE, f"there is no service {VOLUME_SERVICE}"
    if changed:
        return Change.UPDATE, f"its files on {', '.join(changed)} change"
    old = [action.target for action in files if _may_be_old(facts, action.target)]
    if old:  # an `apply` was cut off between the files and the restart
        return Change.UPDATE, f"it may still run older files on {', '.join(old)}"
    silent = [vm.host for vm in facts.storage_vms if vm.guest and not vm.guest.volume_service_answers]
    if silent:
        return Change.UPDATE, f"it does not answer on {', '.join(silent)}"
    return Change.NONE, f"answers on {len(files)} storage VMs"


def _may_be_old(facts: Facts, host: str) -> bool:
    vm = facts.storage_vm(host)
    return bool(vm and vm.guest and vm.guest.volume_service_runs != vm.guest.volume_service)
