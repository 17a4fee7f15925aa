"""A host reboots, and is back when its dom0 is in another boot and its toolstack takes part in the pool again.

The one that reboots may be the pool's master: then nobody answers for a while.
"""

from __future__ import annotations

import asyncio

from shoal.clients.xenapi import XenApi, XenApiError
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import wait_until
from shoal.observe.maintenance import read_boot
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools
from shoal.steps.toolstack import COMPLETE, LOOK_TIMEOUT_S

timeout_s = 3600.0
BACK_TIMEOUT_S = 3000.0  # large servers look at their memory and disks for many minutes
ASK_AGAIN_S = 120.0
EVERY_S = 3.0


async def apply(action: Action, tools: Tools) -> None:
    asked_at = -ASK_AGAIN_S
    clock = asyncio.get_running_loop().time

    async def look() -> str:
        nonlocal asked_at
        seen = await _look(action, tools)
        if seen == OLD_BOOT and clock() - asked_at >= ASK_AGAIN_S:
            asked_at = clock()
            tools.progress(action, "told to reboot")
            await _ask(tools.xenapi, action.target)
            return seen
        tools.progress(action, seen or "it is back")
        return seen

    await wait_until(look, deadline_s=BACK_TIMEOUT_S, what=f"{action.target} to reboot and be back", every_s=EVERY_S)


async def verify(action: Action, tools: Tools) -> str:
    return await _look(action, tools)


OLD_BOOT = "it is still in the boot that is to end"


async def _look(action: Action, tools: Tools) -> str:
    """What it still lacks; "" when it is back."""
    try:
        boot = await read_boot(tools.connections, action.target)
    except ShoalError as error:
        return f"dom0 does not answer: {error.brief}"
    if boot == settings.text(action, "boot"):
        return OLD_BOOT
    dom0 = await tools.dom0(action.target)
    if (await dom0.run(["test", "-e", COMPLETE], timeout_s=LOOK_TIMEOUT_S, check=False)).code:
        return "it has booted, and its toolstack's start is not through"
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    metrics = await tools.xenapi.record("host_metrics", str(host["metrics"]))
    return "" if metrics["live"] else "it has booted, and is not live in the pool yet"


async def _ask(xenapi: XenApi, name: str) -> None:
    """It may go down before it answers, and then this is no failure."""
    try:
        # Whoever might become the master meanwhile shall know where VMs have just moved.
        await xenapi.call("pool.sync_database", timeout_s=records.CALL_TIMEOUT_S)
        await xenapi.call("host.reboot", await records.host_ref(xenapi, name), timeout_s=records.CALL_TIMEOUT_S)
    except XenApiError as error:
        if error.code not in ("CANNOT_CONTACT_HOST", "HOST_OFFLINE", "OTHER_OPERATION_IN_PROGRESS"):
            raise
    except TemporaryError:
        return  # whether it was heard, its boot will tell
