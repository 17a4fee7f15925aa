"""A host's way to the shared SRs ends: its PBDs are unplugged and destroyed. Refused while VMs there use one."""

from __future__ import annotations

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 900.0
UNPLUG_TIMEOUT_S = 300.0


async def apply(action: Action, tools: Tools) -> None:
    for pbd in await _find(action, tools):
        try:
            if pbd["currently_attached"]:
                await tools.xenapi.call_async("PBD.unplug", str(pbd["ref"]), timeout_s=UNPLUG_TIMEOUT_S)
        except XenApiError as error:
            raise ShoalError(
                f"the shared SR cannot be unplugged on {action.host}: {error.code}",
                details=error.details,
                resolution="Move the VMs away that use it there, or shut them down, and run the same command again.",
            ) from error
        await tools.xenapi.call("PBD.destroy", pbd["ref"])


async def verify(action: Action, tools: Tools) -> str:
    return "it still has a PBD" if await _find(action, tools) else ""


async def _find(action: Action, tools: Tools) -> list[Record]:
    host = await records.host_ref(tools.xenapi, action.host)
    srs = [await _find_sr(tools.xenapi, uuid) for uuid in settings.texts(action, "srs")]
    return [pbd for sr in srs if sr for pbd in await records.pbds(tools.xenapi, sr) if pbd["host"] == host]


async def _find_sr(xenapi: XenApi, uuid: str) -> str | None:
    try:
        return await xenapi.text("SR.get_by_uuid", uuid)
    except XenApiError as error:
        if error.code != "UUID_INVALID":
            raise
        return None
