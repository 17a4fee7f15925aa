"""The pool's virtual disks out of XenAPI's records, and a file of this machine. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from shoal.clients.raw_import import data_ranges
from shoal.clients.xenapi import XenApi
from shoal.facts import DiskUser, LocalFile, VirtualDisk, VirtualDisks
from shoal.observe.pool import Records, read_sr
from shoal.observe.reading import Answer, flag, number, text, text_table, texts

CLASSES = ("host", "SR", "PBD", "VDI", "VBD", "VM")


async def look_at_virtual_disks(xenapi: XenApi) -> VirtualDisks:
    await xenapi.login()
    found = await asyncio.gather(*(xenapi.records(kind) for kind in CLASSES))
    return read_virtual_disks(dict(zip(CLASSES, found, strict=True)))


def read_virtual_disks(records: Records) -> VirtualDisks:
    names = {ref: text(host, "name_label") for ref, host in records["host"].items()}
    srs = {ref: text(sr, "uuid") for ref, sr in records["SR"].items()}
    disks = [_disk(vdi, srs[text(vdi, "SR")], records) for vdi in records["VDI"].values() if text(vdi, "SR") in srs]
    return VirtualDisks(
        srs=tuple(read_sr(sr, records["PBD"], names) for sr in records["SR"].values()),
        disks=tuple(sorted(disks, key=lambda disk: (disk.name, disk.uuid))),
    )


def _disk(vdi: Answer, sr: str, records: Records) -> VirtualDisk:
    vbds = [records["VBD"][ref] for ref in texts(vdi, "VBDs") if ref in records["VBD"]]
    vms = records["VM"]
    # A dom0 has a disk only while the toolstack reads or writes it.
    users = [(vbd, vms[text(vbd, "VM")]) for vbd in vbds if text(vbd, "VM") in vms]
    return VirtualDisk(
        uuid=text(vdi, "uuid"),
        name=text(vdi, "name_label"),
        sr=sr,
        size_bytes=number(vdi, "virtual_size"),
        used_bytes=max(0, number(vdi, "physical_utilisation", 0)),
        is_a_snapshot=flag(vdi, "is_a_snapshot", default=False),
        resets_at_boot=text(vdi, "on_boot", "persist") == "reset",
        users=tuple(_user(vbd, vm) for vbd, vm in users if not flag(vm, "is_control_domain", default=False)),
        other_config=text_table(vdi, "other_config"),
    )


def _user(vbd: Answer, vm: Answer) -> DiskUser:
    return DiskUser(
        vm=text(vm, "name_label"),
        vm_uuid=text(vm, "uuid"),
        power_state=text(vm, "power_state"),
        position=text(vbd, "userdevice"),
        attached=flag(vbd, "currently_attached"),
        is_disk=text(vbd, "type", "Disk") == "Disk",
    )


def look_at_file(path: Path) -> LocalFile:
    """A file that is to be imported, or is to be written by an export."""
    try:
        free_bytes = _free_bytes(path.absolute().parent)
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                return LocalFile(str(path), exists=True, unreadable="it is not a regular file")
            data_bytes = sum(length for _, length in data_ranges(file))
    except FileNotFoundError as error:
        there = path.absolute().parent.is_dir()
        return LocalFile(str(path), free_bytes=_free_bytes(path.absolute().parent) if there else 0,
                         unreadable=error.strerror or "not there")  # fmt: skip
    except OSError as error:
        return LocalFile(str(path), exists=True, unreadable=error.strerror or str(error))
    return LocalFile(
        str(path),
        exists=True,
        size_bytes=about.st_size,
        data_bytes=data_bytes,
        changed_ns=about.st_mtime_ns,
        free_bytes=free_bytes,
    )


def _free_bytes(folder: Path) -> int:
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize
