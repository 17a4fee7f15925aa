"""A file is sent to a new virtual disk, a segment at a time; each one that the toolstack confirms is noted at the disk.

Only what was confirmed counts: the toolstack says yes before it reads. The disk gets its name when it is complete.
"""

from __future__ import annotations

from pathlib import Path

from shoal.clients.raw_import import parts
from shoal.clients.xenapi import Record, XenApi
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.plan.disk_import import confirmed_bytes
from shoal.plan.virtual_disk import IMPORT_BYTES_MARK, IMPORT_MARK, IMPORTED_MARK, NOT_IMPORTED
from shoal.steps import records, settings, transfer
from shoal.steps.system_disk import create_vdi
from shoal.steps.tools import Tools

timeout_s = transfer.TIMEOUT_S
CALL_TIMEOUT_S = 120.0
RELEASE_TIMEOUT_S = 180.0  # a connection that is gone is noticed within two minutes


async def apply(action: Action, tools: Tools) -> None:
    xenapi, name = tools.xenapi, settings.text(action, "name")
    sr, _ = await transfer.need(xenapi, "SR", settings.text(action, "sr"))
    found = await _find(xenapi, sr, action)
    if found is None:
        mark = {IMPORT_MARK: settings.text(action, "mark")}
        size_bytes = settings.number(action, "size_bytes")
        vdi = await create_vdi(xenapi, sr, f"{name}{NOT_IMPORTED}", size_bytes, mark)
        found = vdi, await xenapi.record("VDI", vdi)
    vdi, record = found
    if IMPORTED_MARK not in records.config_of(record):
        await transfer.wait_until_released(
            xenapi, vdi, deadline_s=RELEASE_TIMEOUT_S, say=lambda text: tools.progress(action, text)
        )
        if await transfer.users(xenapi, vdi):
            raise ShoalError(f"the import to VDI {record['uuid']} was not finished, and a VM has that disk")
        await _send(action, tools, (sr, vdi), confirmed_bytes(records.config_of(record)))
        await records.set_mark(xenapi, "VDI", vdi, IMPORTED_MARK, "true")
    await xenapi.call("VDI.set_name_label", vdi, name, timeout_s=CALL_TIMEOUT_S)
    await xenapi.call("VDI.remove_from_other_config", vdi, IMPORT_BYTES_MARK)


async def verify(action: Action, tools: Tools) -> str:
    sr, _ = await transfer.need(tools.xenapi, "SR", settings.text(action, "sr"))
    found = await _find(tools.xenapi, sr, action)
    if found is None:
        return "the disk is not there"
    _, record = found
    if IMPORTED_MARK not in records.config_of(record):
        return f"VDI {record['uuid']} is not complete"
    return "" if record["name_label"] == settings.text(action, "name") else f"VDI {record['uuid']} has another name"


async def _find(xenapi: XenApi, sr: str, action: Action) -> tuple[str, Record] | None:
    return await transfer.marked(xenapi, sr, IMPORT_MARK, settings.text(action, "mark"))


async def _send(action: Action, tools: Tools, target: tuple[str, str], begin: int) -> None:
    (sr, vdi), source = target, Path(settings.text(action, "file"))
    _check_unchanged(action, source)
    address = await transfer.host_address(tools.xenapi, sr)
    meter = transfer.Meter(action, tools, settings.number(action, "size_bytes"))
    for part in parts(source, begin, settings.number(action, "segment_bytes")):

        def show(done_bytes: int, total_bytes: int, *, start: int = part.start, end: int = part.end) -> None:
            meter.show(start + (end - start) * done_bytes // max(total_bytes, 1))

        await tools.xenapi.import_vdi(vdi, source, host_address=address, progress=show, part=part)
        _check_unchanged(action, source)
        await records.set_mark(tools.xenapi, "VDI", vdi, IMPORT_BYTES_MARK, str(part.end))


def _check_unchanged(action: Action, source: Path) -> None:
    """A disk of two halves of different files would look complete."""
    try:
        about = source.stat()
    except OSError as error:
        raise ShoalError(f"the image {source} cannot be read: {error.strerror}") from error
    wanted = (settings.number(action, "size_bytes"), settings.number(action, "changed_ns"))
    if (about.st_size, about.st_mtime_ns) != wanted:
        raise ShoalError(
            f"{source} was changed while it was imported",
            resolution="Import a file that nobody writes to; the half disk is named in the next try's message.",
        )
