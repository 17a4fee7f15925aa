"""The pool's default SR is again what it was before Shoal's."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    before = settings.text(action, "before")
    sr = await tools.xenapi.text("SR.get_by_uuid", before) if before else records.NULL
    await tools.xenapi.call("pool.set_default_SR", await records.pool_ref(tools.xenapi), sr)


async def verify(action: Action, tools: Tools) -> str:
    before = settings.text(action, "before")
    wanted = await tools.xenapi.text("SR.get_by_uuid", before) if before else records.NULL
    pool = await tools.xenapi.record("pool", await records.pool_ref(tools.xenapi))
    return "" if str(pool["default_SR"]) == wanted else "it is another one"
