"""What of a pool is Shoal's, by marks, names and settings that only Shoal gives. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from shoal.facts import Disk, Host, Partition, Remains, Sr, VirtualDisk
from shoal.spec.model import Spec
from shoal.spec.names import PASSTHROUGH_FOLDER, image_device

_IMAGE = re.compile(rf"{image_device('')}[^/]+/lvm-[^/]+")


def shared_srs(spec: Spec, seen: Remains) -> tuple[Sr, ...]:
    """Those of this spec, and of an earlier one: no other driver takes these settings."""
    names = {sr.name: sr.type for sr in spec.srs}
    return tuple(sr for sr in seen.disks.srs if sr.shared and (_is_shoals(sr) or _is_bare(sr, names)))


def _is_shoals(sr: Sr) -> bool:
    if sr.type == "rbd":
        return any("volumes" in pbd.device_config for pbd in sr.pbds)
    return sr.type == "lvm" and any(_IMAGE.fullmatch(pbd.device_config.get("device", "")) for pbd in sr.pbds)


def _is_bare(sr: Sr, names: Mapping[str, str]) -> bool:
    """An SR of the spec whose PBDs are gone."""
    return not sr.pbds and names.get(sr.name) == sr.type


def disks_on(seen: Remains, sr: Sr) -> tuple[VirtualDisk, ...]:
    return tuple(disk for disk in seen.disks.disks if disk.sr == sr.uuid)


def passthrough_srs(seen: Remains, host: str) -> tuple[Sr, ...]:
    return tuple(
        sr
        for sr in seen.disks.srs
        if any(pbd.host == host and pbd.device_config.get("location") == PASSTHROUGH_FOLDER for pbd in sr.pbds)
    )


def storage_vm_disks(seen: Remains, host: str) -> tuple[VirtualDisk, ...]:
    """System disk and config drive, also of an import that did not end. What a copy of the VM has is none of them."""
    own = {vm.uuid for vm in seen.storage_vms if vm.host == host}
    return tuple(
        disk
        for disk in seen.disks.disks
        if disk.other_config.get("shoal:host") == host and "shoal:role" in disk.other_config
        if not disk.is_a_snapshot and (not disk.users or own & {user.vm_uuid for user in disk.users})
    )


def partitions(host: Host) -> Iterator[tuple[Disk, Partition]]:
    """Those that Shoal made on this host, finished or not."""
    name = re.compile(rf"(old-)?shoal-osd-{re.escape(host.name)}-\d+(\.new)?")
    for disk in host.dom0.disks if host.dom0 else ():
        for partition in disk.partitions:
            if name.fullmatch(partition.name):
                yield disk, partition
