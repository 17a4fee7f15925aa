"""Waits until Ceph has nothing left to recover, so that the next host may leave."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.plan.host_ceph import not_clean
from shoal.steps.ceph_leave import look, wait_for
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound


async def apply(action: Action, tools: Tools) -> None:
    await wait_for(action, tools, verify, "Ceph to be clean")


async def verify(action: Action, tools: Tools) -> str:  # noqa: ARG001  a step's signature
    return not_clean(await look(await tools.ceph()))
