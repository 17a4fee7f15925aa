"""Restarts a host's toolstack so that it forgets Shoal's driver. Running VMs are not touched by it."""

from __future__ import annotations

from shoal.clients.xenapi import XenApi
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.dom0_kit import SR_TYPE
from shoal.steps.tools import Tools
from shoal.steps.toolstack import KIT_MARK, look_at_host, restart

timeout_s = 540.0


async def apply(action: Action, tools: Tools) -> None:
    await restart(action, tools, await tools.dom0(action.target), lambda: _look(action, tools.xenapi))
    host = await records.host_ref(tools.xenapi, action.target)
    await tools.xenapi.call("host.remove_from_other_config", host, KIT_MARK)


async def verify(action: Action, tools: Tools) -> str:
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    marked = KIT_MARK in records.config_of(host)
    return f"the host still has the mark {KIT_MARK}" if marked else await _look(action, tools.xenapi)


async def _look(action: Action, xenapi: XenApi) -> str:
    types = {str(record["type"]) for record in (await xenapi.records("SM")).values()}
    if settings.flag(action, "is_master") and SR_TYPE in types:
        return f"the pool still knows SRs of type {SR_TYPE}"
    return await look_at_host(xenapi, action.target)
