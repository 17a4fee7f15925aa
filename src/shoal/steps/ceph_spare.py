"""Waits until Ceph can spare a host's daemons: all clean, and no quorum and no placement group would be lost."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.steps.ceph_leave import lacks_leave, wait_for_leave
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound


async def apply(action: Action, tools: Tools) -> None:
    await wait_for_leave(action, tools)


async def verify(action: Action, tools: Tools) -> str:
    return await lacks_leave(tools, action.target)
