"""A VM's disk moves to another SR: copied whole, then given to the VM. The old disk stays unless told otherwise."""

from __future__ import annotations

from shoal.facts import Sr, VirtualDisk, VirtualDisks
from shoal.kit.sizes import format_size
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.virtual_disk import (
    COPY_MARK,
    COPY_VBD_MARK,
    STORAGE_MARKS,
    find_disk,
    find_sr,
    free_bytes,
    plugged_hosts,
    sr_name,
)


def plan(disk_name: str, target_name: str, seen: VirtualDisks, *, delete_source: bool) -> Plan:
    target = find_sr(seen, target_name)
    if isinstance(target, Problem):
        return Plan((), (target,))
    disk, copy = find_disk(seen, disk_name), _copy_of(seen, target, disk_name)
    if isinstance(disk, VirtualDisk):
        copy = _copy_of(seen, target, disk.uuid)
    elif copy is None:
        return Plan((), (disk,))
    source_uuid = disk.uuid if isinstance(disk, VirtualDisk) else disk_name
    is_there = isinstance(disk, VirtualDisk) and disk.sr == target.uuid
    if isinstance(disk, VirtualDisk) and not is_there and not _is_handed_over(disk, copy):
        problems = (*_problems(disk, target, seen), *_of_copy(copy))
        if problems:
            return Plan((), problems)
    change, reason = _judge(disk if isinstance(disk, VirtualDisk) else None, copy, target, seen, delete=delete_source)
    settings = {
        "vdi": source_uuid,
        "sr": target.uuid,
        "delete_source": delete_source,
        "copy": copy.uuid if copy else "",
    }
    name = disk.name if isinstance(disk, VirtualDisk) else copy.name if copy else ""
    return Plan((Action("disk_move", name or source_uuid, change, reason, settings=settings),))


def _copy_of(seen: VirtualDisks, target: Sr, uuid: str) -> VirtualDisk | None:
    return next((d for d in seen.disks if d.sr == target.uuid and d.other_config.get(COPY_MARK) == uuid), None)


def _is_handed_over(disk: VirtualDisk, copy: VirtualDisk | None) -> bool:
    """From here on the copy counts: the VM has lost the old disk, and has the new one or is about to get it."""
    return copy is not None and not disk.users and bool(copy.users or COPY_VBD_MARK in copy.other_config)


def _judge(
    disk: VirtualDisk | None, copy: VirtualDisk | None, target: Sr, seen: VirtualDisks, *, delete: bool
) -> tuple[Change, str]:
    if copy is not None and (disk is None or _is_handed_over(disk, copy)):
        if COPY_VBD_MARK in copy.other_config:
            return Change.UPDATE, f"it is copied to SR {target.name!r}, and the VM has still to get the copy"
        if disk is not None and delete:
            return Change.DESTROY, f"it was moved to VDI {copy.uuid}; the old disk {disk.uuid} WILL BE DELETED"
        left = f"; the old disk {disk.uuid} is still there" if disk else ""
        return Change.NONE, f"it was moved: VDI {copy.uuid}{left}"
    assert disk is not None, "without a disk there is a copy"
    if disk.sr == target.uuid:
        return Change.NONE, f"it is on SR {target.name!r} already: VDI {disk.uuid}"
    (user,) = disk.users
    what = f"{format_size(disk.size_bytes)} from SR {sr_name(seen, disk)!r} to SR {target.name!r}"
    what = f"{what}, for disk {user.position} of VM {user.vm!r}"
    if delete:
        return Change.DESTROY, f"{what}; then the old disk WILL BE DELETED"
    return Change.UPDATE, f"{what}; the old disk is kept"


def _problems(disk: VirtualDisk, target: Sr, seen: VirtualDisks) -> tuple[Problem, ...]:
    source = seen.sr(disk.sr)
    found = [*_of_users(disk)]
    if disk.is_a_snapshot:
        found.append(Problem("it is a snapshot", "move the disk that it was taken of"))
    if disk.resets_at_boot:
        what = "the disk is reset when its VM boots (on_boot=reset)"
        found.append(Problem(what, f"xe vdi-param-set uuid={disk.uuid} on-boot=persist, and set it again afterwards"))
    if any(mark in disk.other_config for mark in STORAGE_MARKS):
        what = "it is a disk of a storage VM, which must not lie on what storage VMs serve"
        found.append(Problem(what, "leave it where it is"))
    if source is not None and not plugged_hosts(source) & plugged_hosts(target):
        what = f"no host has both SR {source.name!r} and SR {target.name!r} plugged"
        found.append(Problem(what, "shoal disk export and shoal disk import go by way of this machine"))
    if disk.used_bytes > free_bytes(target):
        free, used = format_size(free_bytes(target)), format_size(disk.used_bytes)
        found.append(Problem(f"SR {target.name!r} has {free} free, and the disk holds {used}", "make room there"))
    return tuple(found)


def _of_copy(copy: VirtualDisk | None) -> tuple[Problem, ...]:
    if copy is None or not copy.users:
        return ()
    what = f"VDI {copy.uuid} is an earlier copy of this disk, and the VM {copy.users[0].vm} has it"
    remedy = f"if it is a disk of its own now: xe vdi-param-remove uuid={copy.uuid} param-name=other-config"
    return (Problem(what, f"{remedy} param-key={COPY_MARK}"),)


def _of_users(disk: VirtualDisk) -> tuple[Problem, ...]:
    if not disk.users:
        remedy = f"xe vdi-copy uuid={disk.uuid} sr-uuid=…, or give it to a VM first"
        return (Problem(f"no VM has the disk {disk.uuid}, so there is nothing to move", remedy),)
    if len(disk.users) > 1:
        vms = ", ".join(sorted(user.vm for user in disk.users))
        return (Problem(f"the disk belongs to more than one VM: {vms}", "take it from all but one"),)
    user = disk.users[0]
    if not user.is_disk:
        return (Problem(f"it is a CD of the VM {user.vm}", "eject it, and copy the file"),)
    if user.power_state != "Halted" or user.attached:
        what = f"the VM {user.vm} is {user.power_state.lower()}, and a disk is moved only while its VM is halted"
        return (Problem(what, f"xe vm-shutdown uuid={user.vm_uuid}"),)
    return ()
