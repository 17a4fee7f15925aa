"""A host of the pool carries none of Shoal's marks any more, and no alert of its keeper's is left.

With its mark of the driver's kit, a host that comes back later would be taken for one that knows the driver.
"""

from __future__ import annotations

from shoal.observe.remains import ALERT_PREFIX, own_keys
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.tools import Tools

timeout_s = 120.0


async def apply(action: Action, tools: Tools) -> None:
    host = await records.host_ref(tools.xenapi, action.target)
    for key in await _marks(tools, host):
        await tools.xenapi.call("host.remove_from_other_config", host, key)
    for message in await _alerts(tools, host):
        await tools.xenapi.call("message.destroy", message)


async def verify(action: Action, tools: Tools) -> str:
    host = await records.host_ref(tools.xenapi, action.target)
    left = [*await _marks(tools, host), *await _alerts(tools, host)]
    return f"{len(left)} of them are still there" if left else ""


async def _marks(tools: Tools, host: str) -> tuple[str, ...]:
    return own_keys(records.config_of(await tools.xenapi.record("host", host)))


async def _alerts(tools: Tools, host: str) -> list[str]:
    uuid = await tools.xenapi.text("host.get_uuid", host)
    found = await tools.xenapi.records("message")
    return [
        ref
        for ref, message in found.items()
        if message["obj_uuid"] == uuid and str(message["name"]).startswith(ALERT_PREFIX)
    ]
