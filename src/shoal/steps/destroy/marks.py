"""The last of Shoal in the pool: keys in other_config, alerts of the keeper's, and auto_poweron as it was before."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.observe.remains import ALERT_PREFIX, MARKED_CLASSES, own_keys
from shoal.plan.action import Action
from shoal.spec.names import AUTO_POWERON_BEFORE
from shoal.steps import records
from shoal.steps.storage_vm import AUTO_POWERON
from shoal.steps.tools import Tools

timeout_s = 300.0
GONE = ("HANDLE_INVALID",)


async def apply(_action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    await _restore_auto_poweron(xenapi)
    for kind in MARKED_CLASSES:
        for ref, key in _marked(await xenapi.records(kind)):
            await _if_there(xenapi, f"{kind}.remove_from_other_config", ref, key)
    for ref in await _alerts(xenapi):
        await _if_there(xenapi, "message.destroy", ref)


async def verify(_action: Action, tools: Tools) -> str:
    for kind in MARKED_CLASSES:
        for _, key in _marked(await tools.xenapi.records(kind)):
            return f"a {kind} still has the mark {key}"
    return "the keeper's alerts are still there" if await _alerts(tools.xenapi) else ""


async def _restore_auto_poweron(xenapi: XenApi) -> None:
    """Without a note of it (made by a Shoal that took none) it stays as it is."""
    pool = await records.pool_ref(xenapi)
    before = records.config_of(await xenapi.record("pool", pool)).get(AUTO_POWERON_BEFORE)
    if before:
        await records.set_mark(xenapi, "pool", pool, AUTO_POWERON, before)
    elif before is not None:
        await xenapi.call("pool.remove_from_other_config", pool, AUTO_POWERON)


def _marked(found: dict[str, Record]) -> Iterator[tuple[str, str]]:
    for ref, record in found.items():
        for key in own_keys(records.config_of(record)):
            yield ref, key


async def _alerts(xenapi: XenApi) -> list[str]:
    found = await xenapi.records("message")
    return [ref for ref, record in found.items() if str(record["name"]).startswith(ALERT_PREFIX)]


async def _if_there(xenapi: XenApi, method: str, ref: str, *more: str) -> None:
    try:
        await xenapi.call(method, ref, *more)
    except XenApiError as error:
        if error.code not in GONE:
            raise
