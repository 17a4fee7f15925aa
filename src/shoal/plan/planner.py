"""WHAT CHANGES: from what is wanted and what is to what must be done. Pure and total; it never does I/O.

The order of `KINDS` is the order in which a person reads a plan; what must wait for what stands in each action's needs.
"""

from __future__ import annotations

from collections.abc import Callable

from shoal.facts import Facts
from shoal.plan import (
    ceph_cluster,
    ceph_host,
    ceph_image,
    ceph_mgrs,
    ceph_mons,
    ceph_namespace,
    ceph_osd,
    ceph_pool,
    ceph_settings,
    ceph_user,
    default_sr,
    dom0_kit,
    lvm_conf,
    partition,
    passthrough_sr,
    pool_key,
    rbd_map,
    shared_sr,
    storage_vm,
    storage_vm_ready,
    system_disk,
    toolstack,
    volume_client,
    volume_clients,
    volume_service,
    volume_services,
)
from shoal.plan.action import Action, Plan
from shoal.plan.problems import find_problems
from shoal.spec.model import Spec

Planner = Callable[[Spec, Facts], tuple[Action, ...]]
KINDS: dict[str, Planner] = {
    "pool_key": pool_key.plan,
    "partition": partition.plan,
    "passthrough_sr": passthrough_sr.plan,
    "system_disk": system_disk.plan,
    "storage_vm": storage_vm.plan,
    "storage_vm_ready": storage_vm_ready.plan,
    "dom0_kit": dom0_kit.plan,
    "toolstack": toolstack.plan,
    "ceph_cluster": ceph_cluster.plan,
    "ceph_host": ceph_host.plan,
    "ceph_settings": ceph_settings.plan,
    "ceph_mons": ceph_mons.plan,
    "ceph_mgrs": ceph_mgrs.plan,
    "ceph_osd": ceph_osd.plan,
    "ceph_pool": ceph_pool.plan,
    "ceph_namespace": ceph_namespace.plan,
    "ceph_user": ceph_user.plan,
    "volume_clients": volume_clients.plan,
    "volume_client": volume_client.plan,
    "volume_service": volume_service.plan,
    "volume_services": volume_services.plan,
    "ceph_image": ceph_image.plan,
    "lvm_conf": lvm_conf.plan,
    "rbd_map": rbd_map.plan,
    "shared_sr": shared_sr.plan,
    "default_sr": default_sr.plan,
}

EXISTING_KINDS = ("dom0_kit", "toolstack", "volume_client", "shared_sr", "default_sr")
"""All that is to be done where the Ceph cluster is somebody else's."""


def make_plan(spec: Spec, facts: Facts) -> Plan:
    """All that must be done, and all that need not, each with its reason; and why it must not be done at all."""
    kinds = tuple(KINDS) if spec.ceph.existing is None else EXISTING_KINDS
    actions = tuple(action for kind in kinds for action in KINDS[kind](spec, facts))
    return Plan(actions, find_problems(spec, facts))
