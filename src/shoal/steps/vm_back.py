"""A VM that was taken from a host comes back to it, or stays where it is; either way Shoal has done with it."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.plan.host_marks import HOME_MARK
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 10800.0
MOVE_TIMEOUT_S = 7200.0
START_TIMEOUT_S = 600.0


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    ref = await xenapi.text("VM.get_by_uuid", settings.text(action, "vm"))
    if settings.flag(action, "bring"):
        home = await records.host_ref(xenapi, settings.text(action, "host"))
        vm = await xenapi.record("VM", ref)
        if vm["power_state"] == "Halted":
            tools.progress(action, "starting it")
            await xenapi.call_async("VM.start_on", ref, home, False, False, timeout_s=START_TIMEOUT_S)
        elif vm["resident_on"] != home:
            tools.progress(action, "moving it")
            await xenapi.call_async("VM.pool_migrate", ref, home, {"live": "true"}, timeout_s=MOVE_TIMEOUT_S)
    await xenapi.call("VM.remove_from_other_config", ref, HOME_MARK)


async def verify(action: Action, tools: Tools) -> str:
    vm = await tools.xenapi.record("VM", await tools.xenapi.text("VM.get_by_uuid", settings.text(action, "vm")))
    if HOME_MARK in records.config_of(vm):
        return f"it still has the mark {HOME_MARK}"
    home = await records.host_ref(tools.xenapi, settings.text(action, "host"))
    return "it is not there" if settings.flag(action, "bring") and vm["resident_on"] != home else ""
