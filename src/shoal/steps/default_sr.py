"""The pool's default SR, where the spec names one."""

from __future__ import annotations

from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    found = await records.by_name(tools.xenapi, "SR", settings.text(action, "sr"))
    if len(found) != 1:
        raise ShoalError(f"the pool has {len(found)} SRs called {settings.text(action, 'sr')!r}")
    await tools.xenapi.call("pool.set_default_SR", await records.pool_ref(tools.xenapi), found[0])


async def verify(action: Action, tools: Tools) -> str:
    pool = await tools.xenapi.record("pool", await records.pool_ref(tools.xenapi))
    found = await records.by_name(tools.xenapi, "SR", settings.text(action, "sr"))
    return "" if str(pool["default_SR"]) in found else "it is another one"
