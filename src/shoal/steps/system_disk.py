"""The storage VM's system disk: a VDI on the host's local SR, imported from the image.

Its mark shoal:image is set only when the import is complete: a disk of ours without it is half a disk and made again.
"""

from __future__ import annotations

import time
from pathlib import Path

from shoal.clients.xenapi import Record, XenApi
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import system_disk_name
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 1800.0
IMAGE_MARK = "shoal:image"
ROLE = "system"
MIB = 1024**2
REPORT_EVERY_S = 0.5


async def apply(action: Action, tools: Tools) -> None:
    host, xenapi = action.target, tools.xenapi
    if await find(xenapi, host) is not None:
        return
    await destroy_unmarked(xenapi, await records.own_vdis(xenapi, system_disk_name(host), host, ROLE), IMAGE_MARK)
    image = Path(settings.text(action, "image"))
    size_bytes = max(settings.number(action, "size_bytes"), size_of(image))
    sr = await records.local_sr_ref(xenapi, settings.text(action, "sr"), host)
    vdi = await create_vdi(xenapi, sr, system_disk_name(host), size_bytes, marks(host, ROLE))
    await import_image(action, tools, vdi, image)
    await records.set_mark(xenapi, "VDI", vdi, IMAGE_MARK, settings.text(action, "image_sha256"))


def size_of(image: Path) -> int:
    try:
        return image.stat().st_size
    except OSError as error:
        raise ShoalError(f"the image {image} cannot be read: {error.strerror}", where="storage_vm.image") from error


async def verify(action: Action, tools: Tools) -> str:
    return "" if await find(tools.xenapi, action.target) else "there is no completely imported system disk"


async def find(xenapi: XenApi, host: str) -> str | None:
    """The host's system disk, if its import was completed."""
    for ref, record in await records.own_vdis(xenapi, system_disk_name(host), host, ROLE):
        if IMAGE_MARK in records.config_of(record):
            return ref
    return None


def marks(host: str, role: str) -> dict[str, str]:
    return {records.HOST_MARK: host, records.ROLE_MARK: role}


async def create_vdi(xenapi: XenApi, sr: str, name: str, size_bytes: int, other_config: dict[str, str]) -> str:
    """The marks are part of the call: a disk of ours without them can never be."""
    record: dict[str, object] = {
        "name_label": name,
        "name_description": "Made by Shoal",
        "SR": sr,
        "virtual_size": -(-size_bytes // MIB) * MIB,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": other_config,
        "xenstore_data": {},
        "sm_config": {},
        "tags": [],
    }
    return await xenapi.call_async("VDI.create", record, timeout_s=records.CALL_TIMEOUT_S)


async def destroy_unmarked(xenapi: XenApi, vdis: tuple[tuple[str, Record], ...], mark: str) -> None:
    """Remove what an import that did not end has left. Never a disk that a VM has."""
    for ref, record in vdis:
        if mark in records.config_of(record):
            continue
        if records.refs(record, "VBDs"):
            raise ShoalError(
                f"the disk {record['name_label']!r} was never completely imported, but a VM has it",
                resolution="Remove that VM's disk by hand if nothing on it is needed.",
            )
        await xenapi.call_async("VDI.destroy", ref, timeout_s=records.CALL_TIMEOUT_S)


async def import_image(action: Action, tools: Tools, vdi: str, image: Path) -> None:
    """Send the file to the VDI over the host that has it, and report how far it is."""
    last = 0.0

    def report(done_bytes: int, total_bytes: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_EVERY_S or done_bytes == total_bytes:
            last = now
            tools.progress(action, f"imported {done_bytes // MIB} of {total_bytes // MIB} MiB")

    host = await records.host_ref(tools.xenapi, action.target)
    address = str((await tools.xenapi.record("host", host))["address"])
    await tools.xenapi.import_vdi(vdi, image, host_address=address, progress=report)
