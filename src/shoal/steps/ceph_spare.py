"""Waits until Ceph can spare a host's daemons: all clean, and no quorum and no placement group would be lost."""

from __future__ import annotations

from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.ceph_leave import what_keeps_it
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound
EVERY_S = 3.0


async def apply(action: Action, tools: Tools) -> None:
    async def look() -> str:
        seen = await what_keeps_it(tools, action.target)
        tools.progress(action, seen or "it can be spared")
        return seen

    what = f"Ceph to be able to spare {action.target}"
    await wait_until(look, deadline_s=settings.number(action, "wait_s"), what=what, every_s=EVERY_S)


async def verify(action: Action, tools: Tools) -> str:
    return await what_keeps_it(tools, action.target)
