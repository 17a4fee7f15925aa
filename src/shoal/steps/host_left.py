"""A host's VMs have left: the mark by which its keeper rests says from now on that it may be away, too."""

from __future__ import annotations

from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.plan.host_marks import LEAVING, MAINTENANCE_MARK
from shoal.steps import records
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    host = await records.host_ref(tools.xenapi, action.target)
    mark = records.config_of(await tools.xenapi.record("host", host)).get(MAINTENANCE_MARK)
    if mark is None:
        raise ShoalError(
            f"somebody has taken {action.target} out of maintenance while its VMs left",
            resolution="If it is to leave all the same, run the same command again.",
        )
    if mark.startswith(LEAVING):
        await records.set_mark(tools.xenapi, "host", host, MAINTENANCE_MARK, mark.removeprefix(LEAVING))


async def verify(action: Action, tools: Tools) -> str:
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    mark = records.config_of(host).get(MAINTENANCE_MARK, LEAVING)
    return "the mark says that its VMs are still leaving, or is gone" if mark.startswith(LEAVING) else ""
