"""The mark by which a host's keeper rests and `apply` keeps off. Taken off, the host is not due to reboot either."""

from __future__ import annotations

from datetime import UTC, datetime

from shoal.plan.action import Action
from shoal.plan.host_marks import LEAVING, MAINTENANCE_MARK, REBOOT_MARK
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:
    host = await records.host_ref(tools.xenapi, action.target)
    if settings.flag(action, "marked"):
        prefix = LEAVING if settings.flag(action, "leaving") else ""
        since = prefix + datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        async with tools.alone():  # an apply that begins later sees the mark
            await records.set_mark(tools.xenapi, "host", host, MAINTENANCE_MARK, since)
        return
    for mark in (REBOOT_MARK, MAINTENANCE_MARK):  # the keeper's last
        await tools.xenapi.call("host.remove_from_other_config", host, mark)


async def verify(action: Action, tools: Tools) -> str:
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    seen = "" if MAINTENANCE_MARK in records.config_of(host) else "not "
    return "" if bool(seen) != settings.flag(action, "marked") else f"the mark is {seen}there"
