"""One OSD per disk of the spec, on the partition that the storage VM got."""

from __future__ import annotations

from shoal.facts import Ceph, Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, judge_ceph, numbered_disks, partition_named
from shoal.spec.model import Spec
from shoal.spec.names import disk_name, disk_target, guest_device, storage_vm_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host, number, disk in numbered_disks(spec):
        partition = partition_named(facts.host(host.name), disk_name(host.name, number))
        uuid = partition[1].uuid if partition else ""
        settings = {
            "name": storage_vm_name(host.name),
            "device": guest_device(number),
            "method": spec.ceph.osd_method,
            "partition": disk_name(host.name, number),
            "wipe": disk.wipe,
        }
        change, reason = judge_ceph(facts, _judge, storage_vm_name(host.name), guest_device(number), uuid)
        # The orchestrator makes OSDs on its hosts only; method raw needs it not, and so is quicker.
        first = "storage_vm_ready" if spec.ceph.osd_method == "raw" else "ceph_host"
        needs = frozenset({f"{first}/{host.name}", "ceph_settings/cluster"})
        target = disk_target(host.name, number)
        actions.append(Action("ceph_osd", target, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge(ceph: Ceph, name: str, device: str, partition_uuid: str) -> Verdict:
    for osd in ceph.osds:
        if osd.destroyed:
            continue
        is_on_device = osd.host == name and osd.device == device.removeprefix("/dev/")
        if is_on_device or (partition_uuid and partition_uuid in osd.partition_uuids):
            return Change.NONE, f"osd.{osd.id}"
    waiting = [f"osd.{osd.id}" for osd in ceph.osds if osd.destroyed and osd.host == name]
    if waiting:
        return Change.CREATE, f"no OSD on {device} of {name}; it gets the place of {' or '.join(waiting)}"
    return Change.CREATE, f"no OSD on {device} of {name}"
