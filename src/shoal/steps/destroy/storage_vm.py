"""A host's storage VM goes, and with it its system disk and config drive: what carries Shoal's marks, and no more."""

from __future__ import annotations

from shoal.clients.xenapi import Record, TaskTimedOut, XenApi, XenApiError
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.tools import Tools

timeout_s = 600.0
CLEAN_TIMEOUT_S = 150.0
CALL_TIMEOUT_S = 120.0
OFF_ALREADY = ("VM_BAD_POWER_STATE",)


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    for ref, record in await _vms(xenapi, action.target):
        await _stop(action, tools, ref, str(record["power_state"]))
        await xenapi.call_async("VM.destroy", ref, timeout_s=CALL_TIMEOUT_S)
    for ref in await _disks(xenapi, action.target):
        tools.progress(action, "deleting its disks")
        await xenapi.call_async("VDI.destroy", ref, timeout_s=CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    if await _vms(tools.xenapi, action.target):
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


async def _vms(xenapi: XenApi, host: str) -> list[tuple[str, Record]]:
    return [
        (ref, record)
        for ref, record in (await xenapi.records("VM")).items()
        if records.config_of(record).get(records.HOST_MARK) == host
        and not (record["is_a_template"] or record.get("is_a_snapshot"))
    ]


async def _disks(xenapi: XenApi, host: str) -> list[str]:
    """By both marks: a disk of the passthrough SR has neither."""
    return [
        ref
        for ref, record in (await xenapi.records("VDI")).items()
        if records.config_of(record).get(records.HOST_MARK) == host and records.ROLE_MARK in records.config_of(record)
    ]
