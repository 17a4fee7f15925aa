"""An SR of type udev per host, whose VDIs are the host's partitions themselves: the storage VM's OSD disks."""

from __future__ import annotations

from shoal.facts import Facts
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, is_plugged, partition_named, sr_named, vdi_in
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import disk_name, disk_target, passthrough_sr_name


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host in spec.hosts:
        needs = frozenset(f"partition/{disk_target(host.name, number)}" for number in host.disk_numbers)
        disks = tuple(
            {
                "name": disk_name(host.name, number),
                "id": disk_target(host.name, number),
                "device": disk.device,
                "use": disk.use,
            }
            for number, disk in host.numbered_disks
        )
        change, reason = _judge(facts, host)
        actions.append(Action("passthrough_sr", host.name, change, reason, host.name, needs, {"disks": disks}))
    return tuple(actions)


def _judge(facts: Facts, host: model.Host) -> Verdict:
    name = passthrough_sr_name(host.name)
    sr = sr_named(facts, name, host=host.name)
    if sr is None:
        return Change.CREATE, f"there is no SR {name!r}"
    if not is_plugged(sr, host.name):
        return Change.UPDATE, f"SR {name!r} is not plugged"
    for number in host.disk_numbers:
        lack = _lack(facts, host.name, disk_name(host.name, number))
        if lack:
            return Change.UPDATE, lack
        vdi = vdi_in(facts, sr, disk_name(host.name, number))
        if vdi is None or vdi.other_config.get("shoal:disk") != disk_target(host.name, number):
            return Change.UPDATE, f"SR {name!r} has no disk {disk_name(host.name, number)}"
    return Change.NONE, f"SR {name!r} has {len(host.disks)} disk{'s' if len(host.disks) > 1 else ''}"


def _lack(facts: Facts, host: str, disk: str) -> str:
    """What is wrong with the link in dom0 that stands for this disk."""
    seen = facts.host(host)
    if seen is None or seen.dom0 is None:
        return ""
    target = seen.dom0.passthrough_links.get(disk)
    found = partition_named(seen, disk)
    if target is None:
        return f"dom0 has no link {disk}"
    if found and found[1].uuid not in target.lower():
        return f"the link {disk} points to {target}, not to the partition"
    return ""
