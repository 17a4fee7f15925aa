"""A virtual disk becomes a file. XenAPI's export knows no offsets, so one that was cut off begins again."""

from __future__ import annotations

from shoal.facts import LocalFile, VirtualDisk, VirtualDisks
from shoal.kit.sizes import format_size
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.virtual_disk import find_disk, find_sr, running_users, sr_name


def plan(disk_name: str, target: LocalFile, seen: VirtualDisks) -> Plan:
    disk = find_disk(seen, disk_name)
    problems = _of_target(target)
    if isinstance(disk, Problem):
        return Plan((), (*problems, disk))
    problems += _of_disk(disk, target, seen)
    if problems:
        return Plan((), problems)
    reason = f"{disk.name!r} ({format_size(disk.size_bytes)}) of SR {sr_name(seen, disk)!r} to {target.path}"
    settings = {"vdi": disk.uuid, "sr": disk.sr, "file": target.path}
    return Plan((Action("disk_export", disk.name or disk.uuid, Change.CREATE, reason, settings=settings),))


def _of_target(target: LocalFile) -> tuple[Problem, ...]:
    if target.exists:
        return (Problem(f"{target.path} is there already", "name another file, or remove that one"),)
    if not target.free_bytes:
        what = f"there is no room for {target.path}: its folder is not there, or its file system is full"
        return (Problem(what, "name a file elsewhere"),)
    return ()


def _of_disk(disk: VirtualDisk, target: LocalFile, seen: VirtualDisks) -> tuple[Problem, ...]:
    found = []
    sr = find_sr(seen, disk.sr)
    if isinstance(sr, Problem):
        found.append(sr)
    users = sorted(running_users(disk))
    if users:
        what = f"the disk is in use by {', '.join(users)}"
        found.append(Problem(what, f"shut it down, or xe vdi-snapshot uuid={disk.uuid} and export the snapshot"))
    if target.free_bytes and target.free_bytes < disk.used_bytes:
        free, used = format_size(target.free_bytes), format_size(disk.used_bytes)
        found.append(Problem(f"{free} are free for {target.path}, and the disk holds {used}", "name a file elsewhere"))
    return tuple(found)
