"""One partition per disk of the spec: the OSD's. Found again by its GPT name."""

from __future__ import annotations

from shoal.facts import Disk, Facts
from shoal.kit.sizes import format_size
from shoal.plan.action import Action, Change
from shoal.plan.found import Verdict, disk_of, numbered_disks, partition_named
from shoal.spec import model
from shoal.spec.model import Spec
from shoal.spec.names import disk_name, disk_target


def plan(spec: Spec, facts: Facts) -> tuple[Action, ...]:
    actions = []
    for host, number, disk in numbered_disks(spec):
        name = disk_name(host.name, number)
        settings = {
            "device": disk.device,
            "use": disk.use,
            "size_bytes": disk.size,
            "wipe": disk.wipe,
            "name": name,
        }
        change, reason = _judge(facts, host.name, disk, name)
        target = disk_target(host.name, number)
        actions.append(Action("partition", target, change, reason, host=host.name, settings=settings))
    return tuple(actions)


def _judge(facts: Facts, host: str, disk: model.Disk, name: str) -> Verdict:
    seen = facts.host(host)
    found = partition_named(seen, name)
    if found and not found[1].device:
        return Change.UPDATE, "dom0's kernel has not been told of it"
    if found:
        return Change.NONE, f"{found[1].device}, {format_size(found[1].range.size_bytes)}"
    there = disk_of(seen, disk.device)
    if there is None:
        return Change.CREATE, "the disk cannot be seen"
    size = format_size(disk.size) if disk.size else "all of it"
    if disk.use == "free-space":
        return Change.CREATE, f"no partition named {name}; {size} of the free space of {there.device}"
    held = contents_of(there)
    if held and not disk.wipe:  # a problem, too: nothing will be carried out
        return Change.CREATE, f"{there.device} holds {held}"
    if held:
        return Change.DESTROY, f"wipe: true, so {held} on {there.device} will be destroyed"
    return Change.CREATE, f"{there.device} is empty; {size}"


def contents_of(disk: Disk) -> str:
    """What a whole disk holds, in words; "" when it is empty. A partition table without partitions holds nothing."""
    parts = []
    if disk.contents:
        parts.append(disk.contents)
    for partition in disk.partitions:
        what = partition.contents or "unknown contents"
        parts.append(f"{partition.device} ({what}, {format_size(partition.range.size_bytes)})")
    return ", ".join(parts)
