"""The pool's default SR, where the spec names one."""

from __future__ import annotations

from shoal.clients.xenapi import XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import DEFAULT_SR_BEFORE
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    found = await records.by_name(tools.xenapi, "SR", settings.text(action, "sr"))
    if len(found) != 1:
        raise ShoalError(f"the pool has {len(found)} SRs called {settings.text(action, 'sr')!r}")
    pool = await records.pool_ref(tools.xenapi)
    before = await _uuid(tools.xenapi, str((await tools.xenapi.record("pool", pool))["default_SR"]))
    await records.note_before(tools.xenapi, pool, DEFAULT_SR_BEFORE, before)
    await tools.xenapi.call("pool.set_default_SR", pool, found[0])


async def verify(action: Action, tools: Tools) -> str:
    pool = await tools.xenapi.record("pool", await records.pool_ref(tools.xenapi))
    found = await records.by_name(tools.xenapi, "SR", settings.text(action, "sr"))
    return "" if str(pool["default_SR"]) in found else "it is another one"


async def _uuid(xenapi: XenApi, sr: str) -> str:
    """Empty for none, and for one that is gone: xapi keeps a ref to it."""
    try:
        return "" if sr == records.NULL else await xenapi.text("SR.get_uuid", sr)
    except XenApiError as error:
        if error.code != "HANDLE_INVALID":
            raise
        return ""
