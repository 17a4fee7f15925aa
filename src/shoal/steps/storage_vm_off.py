"""A storage VM is shut down cleanly, so that its OSDs say good-bye instead of being found missing. Never by force."""

from __future__ import annotations

from shoal.clients.xenapi import XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import storage_vm_name
from shoal.steps import records, settings
from shoal.steps.ceph_leave import ceph_beside, wait_for_leave
from shoal.steps.tools import Tools

timeout_s = 86400.0  # mostly of the wait, whose bound the settings have
SHUTDOWN_TIMEOUT_S = 1500.0  # xapi gives a guest twenty minutes


async def apply(action: Action, tools: Tools) -> None:
    name = settings.text(action, "name")
    await wait_for_leave(action, tools)  # once more: moving VMs away may have taken hours
    found = await records.storage_vm(tools.xenapi, action.target, name)
    if found is None or found[1]["power_state"] == "Halted":
        return
    await _hand_over_manager(action, tools)
    tools.progress(action, "shutting it down")
    try:
        await tools.xenapi.call_async("VM.clean_shutdown", found[0], timeout_s=SHUTDOWN_TIMEOUT_S)
    except XenApiError as error:
        if error.code == "VM_SHUTDOWN_TIMEOUT":
            raise ShoalError(
                f"{name} does not shut down by itself; it was left as it is",
                resolution=f"Look at its console (xe console vm={name}), then run the same command again.",
            ) from error
        if error.code != "VM_BAD_POWER_STATE":  # somebody else was quicker
            raise


async def verify(action: Action, tools: Tools) -> str:
    found = await records.storage_vm(tools.xenapi, action.target, settings.text(action, "name"))
    return "" if found is None or found[1]["power_state"] == "Halted" else f"it is {found[1]['power_state']}"


async def _hand_over_manager(action: Action, tools: Tools) -> None:
    """A standby takes over at once when it is told to, and half a minute after the active one has gone silent."""
    ceph = await ceph_beside(tools, action.target)
    dump = await ceph.command(["mgr", "dump"])
    active = str(dump.get("active_name", "")) if isinstance(dump, dict) else ""
    if active.rpartition(".")[0] == storage_vm_name(action.target):
        await ceph.text(["mgr", "fail", active])
