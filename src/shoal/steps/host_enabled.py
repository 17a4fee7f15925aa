"""Whether VMs may start on a host, or move there: xapi's own switch, which a host's boot turns on again."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 180.0


async def apply(action: Action, tools: Tools) -> None:
    host = await records.host_ref(tools.xenapi, action.target)
    verb = "enable" if settings.flag(action, "enabled") else "disable"
    await tools.xenapi.call(f"host.{verb}", host, timeout_s=records.CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    wanted = settings.flag(action, "enabled")
    return "" if bool(host["enabled"]) == wanted else f"it is {'disabled' if wanted else 'enabled'}"
