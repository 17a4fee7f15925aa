"""A file becomes a virtual disk. What an earlier try has confirmed is not sent again."""

from __future__ import annotations

import json

from shoal.facts import LocalFile, Sr, VirtualDisk, VirtualDisks
from shoal.kit.sizes import MiB, format_size
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.virtual_disk import IMPORT_BYTES_MARK, IMPORT_MARK, IMPORTED_MARK, find_sr, free_bytes

SEGMENT_BYTES = 256 * MiB
"""So much data at a time: what the toolstack has confirmed is kept when the next piece fails."""


def plan(source: LocalFile, sr_name: str, name: str, seen: VirtualDisks) -> Plan:
    sr = find_sr(seen, sr_name)
    problems = _of_file(source)
    if isinstance(sr, Problem):
        return Plan((), (*problems, sr))
    mark = identify(source, name)
    there = next(
        (disk for disk in seen.disks if disk.sr == sr.uuid and disk.other_config.get(IMPORT_MARK) == mark), None
    )
    problems += _of_sr(source, sr) if there is None else _of_disk(there)
    problems += _of_others(source, name, mark, sr, seen)
    if problems:
        return Plan((), problems)
    change, reason = _judge(source, name, sr, there)
    settings = {
        "file": source.path,
        "size_bytes": source.size_bytes,
        "changed_ns": source.changed_ns,
        "sr": sr.uuid,
        "name": name,
        "mark": mark,
        "segment_bytes": SEGMENT_BYTES,
        "vdi": there.uuid if there else "",
    }
    return Plan((Action("disk_import", name, change, reason, settings=settings),))


def identify(source: LocalFile, name: str) -> str:
    """The same for the same file, unchanged, under the same name: then it is the same import."""
    file = source.path.rpartition("/")[2]
    about = {"file": file, "size_bytes": source.size_bytes, "changed_ns": source.changed_ns, "name": name}
    return json.dumps(about, sort_keys=True)


def confirmed_bytes(other_config: dict[str, str]) -> int:
    text = other_config.get(IMPORT_BYTES_MARK, "0")
    return int(text) if text.isascii() and text.isdigit() else 0


def _judge(source: LocalFile, name: str, sr: Sr, there: VirtualDisk | None) -> tuple[Change, str]:
    size = f"{format_size(source.size_bytes)}, {format_size(source.data_bytes)} of it data"
    if there is None:
        return Change.CREATE, f"{source.path} ({size}) to SR {sr.name!r}"
    if IMPORTED_MARK in there.other_config and there.name == name:
        return Change.NONE, f"it is imported: VDI {there.uuid}"
    done = format_size(confirmed_bytes(there.other_config))
    return Change.UPDATE, f"{source.path} ({size}) to SR {sr.name!r}: goes on after {done}"


def _of_file(source: LocalFile) -> tuple[Problem, ...]:
    if source.unreadable:
        return (Problem(f"cannot read {source.path}: {source.unreadable}", "name a raw image of a disk"),)
    if source.size_bytes == 0:
        return (Problem(f"{source.path} is empty", "name a raw image of a disk"),)
    return ()


def _of_sr(source: LocalFile, sr: Sr) -> tuple[Problem, ...]:
    free = free_bytes(sr)
    if source.data_bytes <= free:
        return ()
    what = f"SR {sr.name!r} has {format_size(free)} free, and {source.path} holds {format_size(source.data_bytes)}"
    return (Problem(what, "make room there, or name another SR"),)


def _of_disk(there: VirtualDisk) -> tuple[Problem, ...]:
    if IMPORTED_MARK in there.other_config or not there.users:
        return ()
    what = f"the import to VDI {there.uuid} was not finished, and the VM {there.users[0].vm} has that disk"
    return (Problem(what, "take the disk from the VM, or give the import another --name"),)


def _of_others(source: LocalFile, name: str, mark: str, sr: Sr, seen: VirtualDisks) -> tuple[Problem, ...]:
    """Half a disk of a file that was changed since."""
    for disk in seen.disks:
        other = disk.other_config.get(IMPORT_MARK, "")
        if disk.sr != sr.uuid or other in ("", mark) or IMPORTED_MARK in disk.other_config:
            continue
        if _names(other) == _names(mark):
            what = f"an import of {source.path} as {name!r} was begun, and the file was changed since"
            return (Problem(what, f"xe vdi-destroy uuid={disk.uuid}, or give the import another --name"),)
    return ()


def _names(mark: str) -> tuple[object, object]:
    try:
        about = json.loads(mark)
    except ValueError:
        return "", ""
    return (about.get("file"), about.get("name")) if isinstance(about, dict) else ("", "")
