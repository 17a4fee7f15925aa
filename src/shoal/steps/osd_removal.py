"""An OSD leaves: emptied first where that is planned, then stopped, then destroyed or taken out of the cluster.

How far it came stands in Ceph itself: an OSD that is out is being emptied, with those that leave together. Its uuid
says that it is still the same one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import Completed, Unreachable
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.plan.redundancy import is_in_danger
from shoal.steps import orchestrator, settings
from shoal.steps.ceph_osd import show_orchestrator
from shoal.steps.tools import Tools

DAY_S = 86400.0
EMPTY_TIMEOUT_S = 7 * DAY_S
timeout_s = EMPTY_TIMEOUT_S + 3600.0
DOWN_TIMEOUT_S = 120.0
SAFE_TIMEOUT_S = 600.0
REMOVE_TIMEOUT_S = 180.0
NOT_YET = (11, 16)  # EAGAIN, EBUSY: Ceph's answers while data would be lost, or while it cannot tell
YES = "--yes-i-really-mean-it"
NO_GROUPS = "no placement groups yet"
# $1 the cluster's fsid, $2 the OSD's id. cephadm fails on a daemon that it does not find. Its folder goes last.
REMOVE_DAEMON = """[ ! -d "/var/lib/ceph/$1/osd.$2" ] ||
exec cephadm rm-daemon --fsid "$1" --name "osd.$2" --force --force-delete-data"""


async def apply(action: Action, tools: Tools) -> None:
    ceph = await tools.ceph()
    osd = await _find(ceph, action)
    if osd is None:
        return
    name, drain = str(osd["osd"]), settings.flag(action, "drain")
    if drain:
        await ceph.text(["osd", "out", *settings.texts(action, "together")])
        await _wait(action, tools, lambda: _lacks_data(tools, name), f"osd.{name} to be empty")
    elif osd["up"]:
        leave = orchestrator.watch(lambda: _lacks_leave(tools, name), tools)
        await _wait(action, tools, leave, f"Ceph to do without osd.{name}")
    ceph = await tools.ceph()
    if not drain:
        await _wait_until_safe(action, tools, ceph)
    if settings.flag(action, "has_daemon"):
        tools.progress(action, f"stopping osd.{name}")
        await _remove_daemon(action, tools, ceph, name)
    await _wait_until_down(action, ceph, name)
    if not drain:
        await _wait_until_safe(action, tools, ceph)
    if await _find(ceph, action) is None:
        return  # somebody has taken it out meanwhile, and its id may be another OSD's by now
    # With neither flag Ceph looks itself once more; either of them means force to it.
    sure = [] if drain else ["--force", YES]
    verb = "destroy" if settings.flag(action, "keep_id") else "purge"
    give_up = ["osd", verb, name, *sure]
    await _wait(action, tools, lambda: _why_not(ceph.text(give_up)), "Ceph to let the OSD go")
    await show_orchestrator(ceph, settings.text(action, "name"))


async def verify(action: Action, tools: Tools) -> str:
    osd = await _find(await tools.ceph(), action)
    return f"osd.{osd['osd']} is still in the cluster" if osd else ""


async def _find(ceph: Ceph, action: Action) -> dict[str, Any] | None:
    """The OSD as long as it is the one that was planned: a new one may have got its id. Destroyed, its id may stay."""
    osd_map = await ceph.command(["osd", "dump"])
    assert isinstance(osd_map, dict)
    for osd in osd_map["osds"]:
        is_same = osd["osd"] == settings.number(action, "osd") and osd["uuid"] == settings.text(action, "uuid")
        if is_same and not ("destroyed" in osd["state"] and settings.flag(action, "keep_id")):
            return dict(osd)
    return None


async def _look_empty(ceph: Ceph, name: str) -> None:
    """Raises CephRefused while data would be lost. Asked for JSON, Ceph 18.2 exits with 0 for an OSD in use, too."""
    question = ["osd", "safe-to-destroy", name]
    await ceph.text(question)
    found = await ceph.command(question)
    if not isinstance(found, dict) or found.get("safe_to_destroy") != [int(name)]:
        raise CephRefused(question, Completed("", f"Ceph does not list it as safe: {found}", NOT_YET[0]))


async def _why_not(asked: Awaitable[object]) -> str:
    """Why Ceph refuses for now; "" when it has done it."""
    try:
        await asked
    except CephRefused as error:
        if error.code not in NOT_YET:
            raise
        return error.brief.partition(": ")[2]
    return ""


async def _lacks_data(tools: Tools, name: str) -> str:
    """Of whichever monitor there is by then: this may take days."""
    return await _why_not(_look_empty(await tools.ceph(), name))


async def _lacks_leave(tools: Tools, name: str) -> str:
    """All in one look: a copy may go while the other is waited for."""
    ceph = await tools.ceph()
    unclean = describe_unclean(await ceph.command(["pg", "stat"]))
    return unclean or await _why_not(ceph.text(["osd", "ok-to-stop", name])) or await _describe_upgrade(ceph)


async def _describe_upgrade(ceph: Ceph) -> str:
    """An upgrade stops OSDs by itself, each for a moment in which the data need this one. "" when none is at work."""
    try:
        found = await ceph.command(["orch", "upgrade", "status"])
    except CephRefused as error:
        return error.brief  # an upgrade replaces the manager, too
    if not isinstance(found, dict):
        return "the orchestrator does not say whether Ceph is being upgraded"
    is_at_work = found.get("in_progress") and not found.get("is_paused")
    return f"Ceph is being upgraded to {found.get('target_image')}" if is_at_work else ""


async def _wait_until_safe(action: Action, tools: Tools, ceph: Ceph) -> None:
    """The plan may be old, and groups peer anew when an OSD stops: the last copy of nothing may be on it."""

    async def look() -> str:
        states = _states(await ceph.command(["pg", "stat"]))
        return ", ".join(name for name in states if is_in_danger(name)) or ("" if states else NO_GROUPS)

    await _wait(action, tools, look, "all data to be reachable without the OSD", deadline_s=SAFE_TIMEOUT_S)


async def _wait(
    action: Action,
    tools: Tools,
    look: Callable[[], Awaitable[str]],
    what: str,
    *,
    deadline_s: float = EMPTY_TIMEOUT_S,
) -> None:
    async def say() -> str:
        seen = await look()
        if seen:
            tools.progress(action, f"waiting for {what}: {seen}")
        return seen

    async with tools.meanwhile():
        await wait_until(say, deadline_s=deadline_s, what=what, every_s=2)


def describe_unclean(status: object) -> str:
    """What of `ceph pg stat` has not all its copies; "" when nothing."""
    states = _states(status)
    other = {
        name: count
        for name, count in states.items()
        if is_in_danger(name) or not {"active", "clean"} <= set(name.split("+"))
    }
    if states and not other:
        return ""
    return ", ".join(f"{count} {name}" for name, count in other.items()) or NO_GROUPS


def _states(status: object) -> dict[str, int]:
    summary = status.get("pg_summary", status) if isinstance(status, dict) else {}
    return {str(row["name"]): int(row["num"]) for row in summary.get("num_pg_by_state", ())}


async def _remove_daemon(action: Action, tools: Tools, ceph: Ceph, name: str) -> None:
    """Without a storage VM there is no daemon; one that only does not answer keeps its OSD up, which is seen next."""
    fsid = (await ceph.text(["fsid"])).strip()
    try:
        guest = await tools.storage_vm(action.host)
        await guest.run(["sh", "-c", REMOVE_DAEMON, "sh", fsid, name], timeout_s=REMOVE_TIMEOUT_S)
    except Unreachable as error:
        tools.progress(action, f"osd.{name} cannot be stopped: {error.brief}")


async def _wait_until_down(action: Action, ceph: Ceph, name: str) -> None:
    async def look() -> str:
        osd = await _find(ceph, action)
        return f"osd.{name} is up" if osd and osd["up"] else ""

    try:
        await wait_until(look, deadline_s=DOWN_TIMEOUT_S, what=f"osd.{name} to be down", every_s=1)
    except ShoalError as error:
        error.resolution = error.resolution or f"Stop it on its storage VM, {action.host}'s."
        raise
