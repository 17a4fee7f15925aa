"""What the plans of all work on single virtual disks share: finding SRs and disks, and the marks on them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Sr, VirtualDisk, VirtualDisks
from shoal.plan.action import Problem

IMPORT_MARK = "shoal:import"  # which file is imported under which name, as JSON
IMPORT_BYTES_MARK = "shoal:import-bytes"  # how far it has come for certain, while it is under way
IMPORTED_MARK = "shoal:imported"  # it is complete
COPY_MARK = "shoal:copy-of"  # uuid of the disk that this one is a copy of
COPY_VBD_MARK = "shoal:copy-vbd"  # complete, but a VM has still to get it: that VM's VBD, as JSON
NOT_IMPORTED, NOT_COPIED = " (import not finished)", " (copy not finished)"  # after the name, until it is
OWN_MARK = "shoal:"
STORAGE_MARKS = ("shoal:host", "shoal:disk")  # disks that storage VMs are made of


def find_sr(seen: VirtualDisks, name: str) -> Sr | Problem:
    """The one SR of that name or uuid that is plugged somewhere."""
    found = [sr for sr in seen.srs if name in (sr.name, sr.uuid)]
    if not found:
        return no_sr(seen, name)
    if len(found) > 1:
        uuids = ", ".join(sorted(sr.uuid for sr in found))
        return Problem(f"the pool has {len(found)} SRs called {name!r}", f"name one by its uuid: {uuids}")
    if not plugged_hosts(found[0]):
        return Problem(f"SR {name!r} is not plugged on any host", "shoal apply, or xe pbd-plug")
    return found[0]


def no_sr(seen: VirtualDisks, name: str) -> Problem:
    known = ", ".join(sorted({sr.name for sr in seen.srs}))
    return Problem(f"the pool has no SR {name!r}", f"it has {known}")


def find_disk(seen: VirtualDisks, name: str) -> VirtualDisk | Problem:
    """The one disk of that uuid or name. A name never means a snapshot, nor a copy that we made of another found."""
    found = [disk for disk in seen.disks if name == disk.uuid]
    found = found or [disk for disk in seen.disks if name == disk.name and not disk.is_a_snapshot]
    originals = {disk.uuid for disk in found}
    found = [disk for disk in found if disk.other_config.get(COPY_MARK) not in originals]
    if not found:
        return Problem(f"the pool has no disk {name!r}", "shoal disk list shows what there is")
    if len(found) > 1:
        uuids = ", ".join(disk.uuid for disk in found)
        return Problem(f"the pool has {len(found)} disks called {name!r}", f"name one by its uuid: {uuids}")
    return found[0]


def plugged_hosts(sr: Sr) -> set[str]:
    return {pbd.host for pbd in sr.pbds if pbd.attached}


def free_bytes(sr: Sr) -> int:
    return max(0, sr.physical_size_bytes - sr.physical_utilisation_bytes)


def sr_name(seen: VirtualDisks, disk: VirtualDisk) -> str:
    sr = seen.sr(disk.sr)
    return sr.name if sr else disk.sr


def running_users(disk: VirtualDisk) -> Iterator[str]:
    """Names of the VMs that have it open."""
    return (user.vm for user in disk.users if user.attached)


def unfinished(disk: VirtualDisk) -> str:
    """What is still to be done for a disk that Shoal has begun; "" for all others."""
    marks = disk.other_config
    if IMPORT_MARK in marks and IMPORTED_MARK not in marks:
        return "import not finished"
    if COPY_VBD_MARK in marks:
        return "its VM has still to get it"
    if COPY_MARK in marks and not disk.users and disk.name.endswith(NOT_COPIED):
        return "copy not finished"
    return ""
