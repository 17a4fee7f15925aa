"""Waits until Ceph has nothing left to recover, so that the next host may leave."""

from __future__ import annotations

from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.plan.host_ceph import not_clean
from shoal.steps import settings
from shoal.steps.ceph_leave import look
from shoal.steps.tools import Tools

timeout_s = 86400.0  # the settings have the bound
EVERY_S = 3.0


async def apply(action: Action, tools: Tools) -> None:
    async def seen() -> str:
        lack = await verify(action, tools)
        tools.progress(action, lack or "all is clean")
        return lack

    await wait_until(seen, deadline_s=settings.number(action, "wait_s"), what="Ceph to be clean", every_s=EVERY_S)


async def verify(action: Action, tools: Tools) -> str:  # noqa: ARG001  a step's signature
    return not_clean(await look(await tools.ceph()))
