"""The SSH key of the storage VMs goes, when there is none any more that knows it."""

from __future__ import annotations

from shoal.observe.remains import own_secrets
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.pool_key import POOL_KEY
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(_action: Action, tools: Tools) -> None:
    for ref in await own_secrets(tools.xenapi):
        await tools.xenapi.call("secret.destroy", ref)
    await tools.xenapi.call("pool.remove_from_other_config", await records.pool_ref(tools.xenapi), POOL_KEY)


async def verify(_action: Action, tools: Tools) -> str:
    return "the pool still holds it" if await own_secrets(tools.xenapi) else ""
