"""A host's PBD of an SR is plugged or unplugged. Unplugged, the driver has unmapped what it had mapped there."""

from __future__ import annotations

from shoal.clients.xenapi import Record, XenApi
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 300.0
PLUG_TIMEOUT_S = 120.0


async def apply(action: Action, tools: Tools) -> None:
    ref, pbd = await _pbd(action, tools.xenapi)
    wanted = settings.flag(action, "plugged")
    if bool(pbd["currently_attached"]) != wanted:
        await tools.xenapi.call_async(f"PBD.{'plug' if wanted else 'unplug'}", ref, timeout_s=PLUG_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    _, pbd = await _pbd(action, tools.xenapi)
    wanted = settings.flag(action, "plugged")
    return "" if bool(pbd["currently_attached"]) == wanted else f"it is {'unplugged' if wanted else 'plugged'}"


async def _pbd(action: Action, xenapi: XenApi) -> tuple[str, Record]:
    ref = await xenapi.text("PBD.get_by_uuid", settings.text(action, "pbd"))
    return ref, await xenapi.record("PBD", ref)
