"""A host is due to reboot: the mark says which boot is to end. Nothing else happens to it yet."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.plan.host_marks import REBOOT_MARK
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    host = await records.host_ref(tools.xenapi, action.target)
    await records.set_mark(tools.xenapi, "host", host, REBOOT_MARK, settings.text(action, "boot"))


async def verify(action: Action, tools: Tools) -> str:
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    return "" if REBOOT_MARK in records.config_of(host) else f"it has no mark {REBOOT_MARK}"
