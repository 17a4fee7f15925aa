"""A host's storage VM goes, and with it its system disk and config drive: what carries Shoal's marks, and no more.

A copy that a person made carries them, too: it stays.
"""

from __future__ import annotations

from shoal.clients.xenapi import Record, TaskTimedOut, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.storage_vm import DRIVE_MARK
from shoal.steps.system_disk import IMAGE_MARK
from shoal.steps.tools import Tools

timeout_s = 600.0
CLEAN_TIMEOUT_S = 150.0
CALL_TIMEOUT_S = 120.0
OFF_ALREADY = ("VM_BAD_POWER_STATE",)


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    vm, disks = await _vm(xenapi, action.target), await _disks(xenapi, action.target)
    if vm is not None:
        ref, record = vm
        await _stop(action, tools, ref, str(record["power_state"]))
        await xenapi.call_async("VM.destroy", ref, timeout_s=CALL_TIMEOUT_S)
    for ref in disks:
        tools.progress(action, "deleting its disks")
        await xenapi.call_async("VDI.destroy", ref, timeout_s=CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    if await _vm(tools.xenapi, action.target):
        return "the VM is still there"
    return "its disks are still there" if await _disks(tools.xenapi, action.target) else ""


async def _stop(action: Action, tools: Tools, vm: str, power_state: str) -> None:
    """Cleanly, so that the OSDs close their files: what is on the partitions may be wanted yet. Else hard."""
    xenapi = tools.xenapi
    if power_state == "Running":
        tools.progress(action, "shutting it down")
        try:
            await xenapi.call_async("VM.clean_shutdown", vm, timeout_s=CLEAN_TIMEOUT_S)
        except TaskTimedOut as error:
            tools.progress(action, f"{error.brief}; switching it off")
        except XenApiError as error:
            tools.progress(action, f"it does not shut down by itself ({error.code}); switching it off")
    if await xenapi.text("VM.get_power_state", vm) == "Halted":
        return
    try:
        await xenapi.call_async("VM.hard_shutdown", vm, timeout_s=CALL_TIMEOUT_S)
    except XenApiError as error:
        if error.code not in OFF_ALREADY:
            raise


async def _vm(xenapi: XenApi, host: str) -> tuple[str, Record] | None:
    vms = (await xenapi.records("VM")).items()
    found = [(ref, record) for ref, record in vms if records.is_storage_vm(record, host)]
    if len(found) > 1:
        raise _doubt("VM", found, "rename the copy")
    return found[0] if found else None


async def _disks(xenapi: XenApi, host: str) -> list[str]:
    """By both marks: a disk of the passthrough SR has neither. In each role one at most was imported to its end."""
    found: list[str] = []
    complete: dict[str, list[tuple[str, Record]]] = {}
    for ref, record in (await xenapi.records("VDI")).items():
        marks = records.config_of(record)
        if marks.get(records.HOST_MARK) != host or records.ROLE_MARK not in marks:
            continue
        if not await records.is_of_another(xenapi, record, host):
            found.append(ref)
            if {IMAGE_MARK, DRIVE_MARK} & marks.keys():
                complete.setdefault(marks[records.ROLE_MARK], []).append((ref, record))
    for some in complete.values():
        if len(some) > 1:
            raise _doubt("VDI", some, "delete the copy, or give it to a VM")
    return found


def _doubt(kind: str, found: list[tuple[str, Record]], remedy: str) -> ShoalError:
    return ShoalError(
        f"{len(found)} {kind}s {found[0][1]['name_label']!r} carry Shoal's marks, and one at most is Shoal's",
        details=f"None was deleted: {', '.join(sorted(str(record['uuid']) for _, record in found))}.",
        resolution=f"{remedy[0].upper()}{remedy[1:]}, then run this again.",
    )
