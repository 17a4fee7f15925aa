"""A VM's disk is copied to another SR by the toolstack, and the VM's VBD is made anew on the copy.

Until the VM has lost the old disk, the old disk is the truth: a copy that an earlier try left is thrown away, since the
VM may have run in between. From then on the copy is, and its mark says which VBD has still to be made.
"""

from __future__ import annotations

import json

from shoal.clients.xenapi import Record, XenApi
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.plan.virtual_disk import COPY_MARK, COPY_VBD_MARK, NOT_COPIED, OWN_MARK
from shoal.steps import records, settings, transfer
from shoal.steps.tools import Tools

timeout_s = transfer.TIMEOUT_S
RELEASE_TIMEOUT_S = 86400.0  # a copy goes on when the one who asked for it is gone
COPIED = ("name_description", "type", "sharable", "xenstore_data", "tags")
VBD_KEPT = (
    *("userdevice", "bootable", "mode", "type", "unpluggable", "other_config"),
    *("qos_algorithm_type", "qos_algorithm_params"),
)


async def apply(action: Action, tools: Tools) -> None:
    xenapi, uuid = tools.xenapi, settings.text(action, "vdi")
    source = await transfer.by_uuid(xenapi, "VDI", uuid)
    copy = await _find_copy(action, xenapi)
    if source is not None and await transfer.users(xenapi, source[0]):
        await _remove_stale(action, tools, copy)
        copy = await _copy(action, tools, source)
        await _take_from_vm(xenapi, source, copy)
        copy = await _find_copy(action, xenapi)
    if copy is None:
        raise ShoalError(f"no VM has the disk {uuid} any more, and there is no copy of it")
    await _give_to_vm(xenapi, copy)
    if source is not None and settings.flag(action, "delete_source"):
        if not await transfer.users(xenapi, copy[0]):
            raise ShoalError(f"no VM has the copy, VDI {copy[1]['uuid']}; the old disk is not deleted")
        tools.progress(action, "deleting the old disk")
        await xenapi.call_async("VDI.destroy", source[0], timeout_s=records.CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    xenapi = tools.xenapi
    copy = await _find_copy(action, xenapi)
    if copy is None:
        return "the copy is not there"
    if COPY_VBD_MARK in records.config_of(copy[1]) or not await transfer.users(xenapi, copy[0]):
        return "the VM has not got the copy"
    source = await transfer.by_uuid(xenapi, "VDI", settings.text(action, "vdi"))
    if source is None:
        return ""
    if await transfer.users(xenapi, source[0]):
        return "a VM still has the old disk"
    return "the old disk is still there" if settings.flag(action, "delete_source") else ""


async def _find_copy(action: Action, xenapi: XenApi) -> tuple[str, Record] | None:
    sr, _ = await transfer.need(xenapi, "SR", settings.text(action, "sr"))
    return await transfer.marked(xenapi, sr, COPY_MARK, settings.text(action, "vdi"))


async def _remove_stale(action: Action, tools: Tools, copy: tuple[str, Record] | None) -> None:
    if copy is None:
        return
    xenapi, (ref, record) = tools.xenapi, copy
    await transfer.wait_until_released(
        xenapi, ref, deadline_s=RELEASE_TIMEOUT_S, say=lambda text: tools.progress(action, text)
    )
    if await transfer.users(xenapi, ref):
        raise ShoalError(f"VDI {record['uuid']} is an earlier copy of this disk, and a VM has it")
    await xenapi.call_async("VDI.destroy", ref, timeout_s=records.CALL_TIMEOUT_S)


async def _copy(action: Action, tools: Tools, source: tuple[str, Record]) -> tuple[str, Record]:
    """Into a disk that is made first, so that it has its mark from its first moment."""
    xenapi, (ref, record) = tools.xenapi, source
    sr, _ = await transfer.need(xenapi, "SR", settings.text(action, "sr"))
    kept = {key: value for key, value in records.config_of(record).items() if not key.startswith(OWN_MARK)}
    made = {
        **{name: record[name] for name in COPIED},
        "name_label": f"{record['name_label']}{NOT_COPIED}",
        "SR": sr,
        "virtual_size": str(record["virtual_size"]),
        "read_only": False,  # or the toolstack could not write to it
        "sm_config": {},
        "other_config": {**kept, COPY_MARK: str(record["uuid"])},
    }
    size_bytes = int(str(record["virtual_size"]))
    meter = transfer.Meter(action, tools, size_bytes)
    copy = await xenapi.call_async("VDI.create", made, timeout_s=records.CALL_TIMEOUT_S)
    await xenapi.call_async(
        *("VDI.copy", ref, sr, records.NULL, copy),
        timeout_s=timeout_s,
        progress=lambda share: meter.show(int(share * size_bytes)),
    )
    await xenapi.call("VDI.set_name_label", copy, record["name_label"], timeout_s=records.CALL_TIMEOUT_S)
    return copy, await xenapi.record("VDI", copy)


async def _take_from_vm(xenapi: XenApi, source: tuple[str, Record], copy: tuple[str, Record]) -> None:
    """Write down the VM's VBD at the copy, then destroy it. A VM that was started meanwhile is left as it is."""
    _, record = source
    found = await transfer.users(xenapi, source[0])
    if len(found) != 1:
        raise ShoalError(f"the disk {record['uuid']} now belongs to {len(found)} VMs; it was not moved")
    vbd = await xenapi.record("VBD", found[0])
    vm = await xenapi.record("VM", str(vbd["VM"]))
    if vm["power_state"] != "Halted":
        raise ShoalError(
            f"the VM {vm['name_label']} was started while its disk was copied; it keeps the old disk",
            resolution="Shut it down and run the same command again: the disk is copied anew.",
        )
    note = json.dumps({"vm": vm["uuid"], **{key: vbd[key] for key in VBD_KEPT}}, sort_keys=True)
    await records.set_mark(xenapi, "VDI", copy[0], COPY_VBD_MARK, note)
    await xenapi.call("VBD.destroy", found[0])


async def _give_to_vm(xenapi: XenApi, copy: tuple[str, Record]) -> None:
    ref, record = copy
    note = records.config_of(record).get(COPY_VBD_MARK)
    if note is None:
        return
    vbd = json.loads(note)
    vm, _ = await transfer.need(xenapi, "VM", vbd.pop("vm"))
    if not await transfer.users(xenapi, ref):
        await xenapi.call("VBD.create", {**vbd, "VM": vm, "VDI": ref, "empty": False})
    await xenapi.call("VDI.remove_from_other_config", ref, COPY_VBD_MARK)
