"""Why a disk of the spec cannot be used: it is not there, in use, not empty, or too small. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Disk, Dom0, Facts, Host, Osd, Partition
from shoal.kit.sizes import MiB, format_size
from shoal.plan.found import disk_of, hidden_ceph, partition_named
from shoal.plan.partition import contents_of
from shoal.spec import model
from shoal.spec.check import OSD_MIN_BYTES
from shoal.spec.names import (
    PASSTHROUGH_FOLDER,
    disk_name,
    guest_device,
    guest_disk_number,
    host_of_disk,
    storage_vm_name,
)
from shoal.spec.problem import Problem

UNFINISHED = ".new"  # steps/partition.py adds it to the name while it wipes the place; a killed run leaves it so
ALIGNMENT_BYTES = 2 * MiB  # lost at most to alignment at both ends


def find_disk_problems(host: model.Host, seen: Host, facts: Facts, where: str) -> Iterator[Problem]:
    if seen.dom0 is None:
        return
    for index, (number, wanted) in enumerate(host.numbered_disks):
        yield from _of_disk(host.name, number, seen, facts, wanted, f"{where}.disks.{index}")
    yield from _of_forgotten(host, facts, where)
    yield from _of_another_name(host.name, seen.dom0, f"{where}.name")


def _of_another_name(host: str, dom0: Dom0, where: str) -> Iterator[Problem]:
    """What Shoal has made is found by the host's name: a renamed one would get a second storage VM."""
    for old in sorted({host_of_disk(link) for link in dom0.passthrough_links} - {host, ""}):
        what = f"dom0 of {host} has the disks of the storage VM of {old}: it was called so when Shoal made that"
        remedy = f"name it {old} again, in the pool and here; if that storage VM is gone for good: "
        yield Problem(what, f"{remedy}rm {PASSTHROUGH_FOLDER}/{disk_name(old, 0)[:-1]}*", where)


def _of_forgotten(host: model.Host, facts: Facts, where: str) -> Iterator[Problem]:
    """An OSD is never emptied because a line of the spec is gone."""
    for osd in facts.ceph.osds if facts.ceph else ():
        number = guest_disk_number(osd.device) if osd.host == storage_vm_name(host.name) else None
        if number and number not in host.disk_numbers and not osd.destroyed:
            what = f"osd.{osd.id} on disk {number} of {host.name} is not in the spec any more"
            yield Problem(what, f"shoal disk remove {host.name} {number}, or put the disk back", f"{where}.disks")


def _of_disk(  # noqa: PLR0913
    host: str, number: int, seen: Host, facts: Facts, wanted: model.Disk, where: str
) -> Iterator[Problem]:
    name = disk_name(host, number)
    ours = partition_named(seen, name)
    disk = disk_of(seen, wanted.device)
    if disk is None:
        yield Problem(f"{host} has no disk {wanted.device}", _known_disks(seen), f"{where}.device")
    elif ours and ours[0].device != disk.device:
        what = f"partition {name} lies on {ours[0].device}, and this is {disk.device}"
        remedy = "keep the order of a host's disks, new ones last; for another disk: shoal disk replace"
        yield Problem(what, f"{remedy} {host} {number} DEVICE", f"{where}.device")
    elif ours:
        yield from _of_our_partition(host, ours[1], facts, wanted, where)
    elif lost := _osd_of(host, number, facts):
        what = f"osd.{lost.id} is on disk {number} of {host}, whose partition {name} is not there any more"
        yield Problem(what, f"shoal disk replace {host} {number} DEVICE", f"{where}.device")
    elif wanted.wipe and partition_named(seen, name + UNFINISHED):
        return  # the step goes on with it; it has taken the space that is asked for
    elif wanted.use == "whole-disk":
        yield from _of_given_partitions(host, disk, seen, facts, where)
        yield from _of_sr(host, disk, facts, where)
        yield from _of_whole_disk(host, disk, wanted, where)
    else:
        yield from _of_free_space(host, disk, wanted, where)


def _osd_of(host: str, number: int, facts: Facts) -> Osd | None:
    """The OSD that Ceph has on this disk: what is left of it may be wanted yet."""
    device, osds = guest_device(number).removeprefix("/dev/"), facts.ceph.osds if facts.ceph else ()
    own = (osd for osd in osds if osd.host == storage_vm_name(host) and not osd.destroyed)
    return next((osd for osd in own if osd.device == device), None)


def _known_disks(seen: Host) -> str:
    disks = seen.dom0.disks if seen.dom0 else ()
    known = [link for disk in disks for link in disk.links if link.startswith("/dev/disk/by-id/")]
    return f"it has {', '.join(sorted(known))}" if known else "no disk there has a name under /dev/disk/by-id"


def _of_our_partition(
    host: str, partition: Partition, facts: Facts, wanted: model.Disk, where: str
) -> Iterator[Problem]:
    is_foreign = partition.contents is not None and facts.ceph is None and not hidden_ceph(facts)
    if is_foreign and not wanted.wipe:
        what = (
            f"{partition.device} of {host} holds {partition.contents}, and there is no Ceph cluster that it belongs to"
        )
        yield Problem(what, "if nobody needs it, write wipe: true for this disk", f"{where}.device")


def _of_given_partitions(host: str, disk: Disk, seen: Host, facts: Facts, where: str) -> Iterator[Problem]:
    """A disk has several stable names. What a storage VM has open, dom0 does not show as in use."""
    given = set(seen.dom0.passthrough_links) if seen.dom0 else set()
    osds = facts.ceph.osds if facts.ceph else ()
    known = {uuid for osd in osds if not osd.destroyed for uuid in osd.partition_uuids}
    for partition in disk.partitions:
        if partition.name in given or (partition.uuid and partition.uuid in known):
            what = f"{partition.device} ({partition.name!r}) is a disk of the storage VM of {host} already"
            remedy = "name another disk: a disk has several names; `wipe` does not help here"
            yield Problem(what, remedy, f"{where}.device")


def _of_sr(host: str, disk: Disk, facts: Facts, where: str) -> Iterator[Problem]:
    """LVM on a disk holds it only while a volume is active: the disks of VMs that are off would go with it."""
    names = {disk.device, *disk.links, *(partition.device for partition in disk.partitions)} - {""}
    for sr in facts.srs:
        devices = [pbd.device_config.get("device", "").split(",") for pbd in sr.pbds if pbd.host == host]
        if names & {name for each in devices for device in each for name in (device, device.partition("-part")[0])}:
            remedy = "name another disk; if nobody needs that SR: xe sr-destroy or sr-forget first"
            what = f"the SR {sr.name!r} of {host} lies on {disk.device}"
            yield Problem(what, f"{remedy}; `wipe` does not help here", f"{where}.device")


def _of_whole_disk(host: str, disk: Disk, wanted: model.Disk, where: str) -> Iterator[Problem]:
    used = disk.in_use or next((f"{part.device} is {part.in_use}" for part in disk.partitions if part.in_use), None)
    held = contents_of(disk)
    if used:
        remedy = "use: whole-disk takes all of it; name another disk, or use: free-space"
        yield Problem(f"{disk.device} of {host} is in use: {used}", remedy, f"{where}.device")
    elif held and not wanted.wipe:
        what = f"{disk.device} of {host} is not empty: {held}"
        yield Problem(what, "if nobody needs it, write wipe: true for this disk", f"{where}.device")
    size = wanted.size or OSD_MIN_BYTES
    if disk.size_bytes < size + ALIGNMENT_BYTES:
        what = f"{disk.device} of {host} has {format_size(disk.size_bytes)}, wanted {format_size(size)}"
        yield Problem(
            what, "name a larger disk or write a smaller size", f"{where}.{'size' if wanted.size else 'device'}"
        )


def _of_free_space(host: str, disk: Disk, wanted: model.Disk, where: str) -> Iterator[Problem]:
    if disk.contents:
        what = f"{disk.device} of {host} is not empty: {disk.contents}"
        yield Problem(what, "use: whole-disk with wipe: true destroys it; or name another disk", f"{where}.device")
        return
    if disk.table != "gpt":
        found = f"a {disk.table} partition table" if disk.table else "no partition table"
        what = f"{disk.device} of {host} has {found}; free space is taken from a GPT only"
        yield Problem(what, "use: whole-disk, or name another disk", f"{where}.use")
        return
    largest = max((free.size_bytes for free in disk.free), default=0)
    size = wanted.size or OSD_MIN_BYTES
    if largest < size + ALIGNMENT_BYTES:
        what = (
            f"{disk.device} of {host} has {format_size(largest)} of free space in one piece, wanted {format_size(size)}"
        )
        yield Problem(what, "make room or write a smaller size", f"{where}.{'size' if wanted.size else 'device'}")
