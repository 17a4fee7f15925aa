"""The SR of a host's partitions is forgotten. Nothing is written to the partitions."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.passthrough_sr import find_sr
from shoal.steps.tools import Tools

timeout_s = 300.0
CALL_TIMEOUT_S = 120.0


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    sr = await find_sr(xenapi, action.target)
    if sr is None:
        return
    for pbd in await records.pbds(xenapi, sr):
        if pbd["currently_attached"]:
            await xenapi.call_async("PBD.unplug", pbd["ref"], timeout_s=CALL_TIMEOUT_S)
    await xenapi.call_async("SR.forget", sr, timeout_s=CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    return "the SR is still there" if await find_sr(tools.xenapi, action.target) else ""
