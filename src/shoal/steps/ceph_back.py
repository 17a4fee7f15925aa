"""Waits until a host's monitor is in quorum and its OSDs are up again."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.plan.host_ceph import not_back
from shoal.steps.ceph_leave import look, wait_for
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound


async def apply(action: Action, tools: Tools) -> None:
    await wait_for(action, tools, verify, f"the Ceph daemons of {action.target} to come back")


async def verify(action: Action, tools: Tools) -> str:
    return not_back(await look(await tools.ceph()), action.target)
