"""Waits until a host's monitor is in quorum and its OSDs are up again."""

from __future__ import annotations

from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.plan.host_ceph import not_back
from shoal.steps import settings
from shoal.steps.ceph_leave import look
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound
EVERY_S = 2.0


async def apply(action: Action, tools: Tools) -> None:
    async def seen() -> str:
        lack = await verify(action, tools)
        tools.progress(action, lack or "they are back")
        return lack

    what = f"the Ceph daemons of {action.target} to come back"
    await wait_until(seen, deadline_s=settings.number(action, "wait_s"), what=what, every_s=EVERY_S)


async def verify(action: Action, tools: Tools) -> str:
    return not_back(await look(await tools.ceph()), action.target)
