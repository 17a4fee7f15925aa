"""A VM leaves a host: it moves, running, to one that can take it; or it is shut down cleanly, where the plan said so.

Where it was is marked on it first, so that it can be brought back whatever happens in between.
"""

from __future__ import annotations

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.plan.host_marks import HOME_MARK, MAINTENANCE_MARK
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 14400.0
MOVE_TIMEOUT_S = 7200.0
SHUTDOWN_TIMEOUT_S = 1500.0  # xapi gives a guest twenty minutes


async def apply(action: Action, tools: Tools) -> None:
    xenapi, host = tools.xenapi, settings.text(action, "host")
    ref = await xenapi.text("VM.get_by_uuid", settings.text(action, "vm"))
    here = await records.host_ref(xenapi, host)
    vm = await xenapi.record("VM", ref)
    if vm["resident_on"] != here:
        return
    await records.set_mark(xenapi, "VM", ref, HOME_MARK, host)
    if settings.flag(action, "stop"):
        tools.progress(action, "shutting it down")
        await _shut_down(xenapi, ref, vm)
    else:
        await _move(action, tools, ref, here)


async def verify(action: Action, tools: Tools) -> str:
    vm = await tools.xenapi.record("VM", await tools.xenapi.text("VM.get_by_uuid", settings.text(action, "vm")))
    here = await records.host_ref(tools.xenapi, settings.text(action, "host"))
    return "" if vm["resident_on"] != here else f"it is {vm['power_state']} there"


async def _shut_down(xenapi: XenApi, ref: str, vm: Record) -> None:
    try:
        await xenapi.call_async("VM.clean_shutdown", ref, timeout_s=SHUTDOWN_TIMEOUT_S)
    except XenApiError as error:
        if error.code == "VM_SHUTDOWN_TIMEOUT":
            raise ShoalError(
                f"the VM {vm['name_label']} does not shut down by itself; it was left as it is",
                resolution="Shut it down by hand, then run the same command again.",
            ) from error
        raise


async def _move(action: Action, tools: Tools, ref: str, here: str) -> None:
    """To the host with most memory free; where that fails, to the next."""
    xenapi, failures = tools.xenapi, []
    for place, name in await _places(xenapi, ref, here):
        tools.progress(action, f"moves to {name}")
        try:
            await xenapi.call_async(
                *("VM.pool_migrate", ref, place, {"live": "true"}),
                timeout_s=MOVE_TIMEOUT_S,
                progress=lambda share, name=name: tools.progress(action, f"moves to {name}: {share:.0%}"),  # type: ignore[misc]
            )
        except XenApiError as error:
            failures.append(f"{name}: {error.code} {' '.join(error.params)}".strip())
            if (await xenapi.record("VM", ref))["power_state"] != "Running":
                break
        else:
            return
    raise ShoalError(
        f"no host took the VM {action.target}",
        details="\n".join(failures) or "No other host is live, enabled, and has its SRs plugged and its memory free.",
        resolution="Make room, or shut it down, then run the same command again.",
    )


async def _places(xenapi: XenApi, ref: str, here: str) -> list[tuple[str, str]]:
    found = []
    possible = await xenapi.call("VM.get_possible_hosts", ref)
    for place in possible if isinstance(possible, list) else []:
        host = await xenapi.record("host", str(place))
        if place == here or not host["enabled"] or MAINTENANCE_MARK in records.config_of(host):
            continue
        free = int(str(await xenapi.call("host.compute_free_memory", place)))
        found.append((free, str(place), str(host["name_label"])))
    return [(place, name) for _, place, name in sorted(found, reverse=True)]
