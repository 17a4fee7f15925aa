"""An OSD leaves: emptied first where that is planned, then stopped, then destroyed or taken out of the cluster.

How far it came stands in Ceph itself: an OSD that is out is being emptied. Its uuid says that it is still the same one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import Completed, Unreachable
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.ceph_osd import show_orchestrator
from shoal.steps.tools import Tools

DAY_S = 86400.0
EMPTY_TIMEOUT_S = 7 * DAY_S
timeout_s = EMPTY_TIMEOUT_S + 3600.0
DOWN_TIMEOUT_S = 120.0
REMOVE_TIMEOUT_S = 180.0
NOT_YET = (11, 16)  # EAGAIN, EBUSY: Ceph's answers while data would be lost, or while it cannot tell
YES = "--yes-i-really-mean-it"


async def apply(action: Action, tools: Tools) -> None:
    ceph = await tools.ceph()
    osd = await _find(ceph, action)
    if osd is None:
        return
    name = str(osd["osd"])
    if settings.flag(action, "drain"):
        await ceph.text(["osd", "out", name])
        await _wait(action, tools, lambda: _is_empty(ceph, name), f"osd.{name} to be empty")
    elif osd["up"]:
        await _wait_until_clean(action, tools, ceph)
        await _wait(action, tools, lambda: ceph.text(["osd", "ok-to-stop", name]), f"Ceph to do without osd.{name}")
    tools.progress(action, f"stopping osd.{name}")
    await _remove_daemon(action, tools, ceph, name)
    await _wait_until_down(action, ceph, name)
    # Emptied, Ceph looks itself once more; else force says what was looked at here and in the plan.
    force = [] if settings.flag(action, "drain") else ["--force"]
    verb = "destroy" if settings.flag(action, "keep_id") else "purge"
    await _give_up(action, tools, ceph, ["osd", verb, name, *force, YES])
    await show_orchestrator(ceph, settings.text(action, "name"))


async def verify(action: Action, tools: Tools) -> str:
    osd = await _find(await tools.ceph(), action)
    return f"osd.{osd['osd']} is still in the cluster" if osd else ""


async def _find(ceph: Ceph, action: Action) -> dict[str, Any] | None:
    """The OSD as long as it is the one that was planned: a new one may have got its id."""
    osd_map = await ceph.command(["osd", "dump"])
    assert isinstance(osd_map, dict)
    for osd in osd_map["osds"]:
        is_same = osd["osd"] == settings.number(action, "osd") and osd["uuid"] == settings.text(action, "uuid")
        if is_same and "destroyed" not in osd["state"]:
            return dict(osd)
    return None


async def _is_empty(ceph: Ceph, name: str) -> None:
    """Raises CephRefused while data would be lost. Asked for JSON, Ceph 18.2 exits with 0 for an OSD in use, too."""
    question = ["osd", "safe-to-destroy", name]
    await ceph.text(question)
    found = await ceph.command(question)
    if not isinstance(found, dict) or found.get("safe_to_destroy") != [int(name)]:
        raise CephRefused(question, Completed("", f"Ceph does not list it as safe: {found}", NOT_YET[0]))


async def _wait(action: Action, tools: Tools, ask: Callable[[], Awaitable[object]], what: str) -> None:
    async def look() -> str:
        try:
            await ask()
        except CephRefused as error:
            if error.code not in NOT_YET:
                raise
            seen = error.brief.partition(": ")[2]
            tools.progress(action, f"waiting for {what}: {seen}")
            return seen
        return ""

    await wait_until(look, deadline_s=EMPTY_TIMEOUT_S, what=what, every_s=2)


async def _wait_until_clean(action: Action, tools: Tools, ceph: Ceph) -> None:
    async def look() -> str:
        seen = describe_unclean(await ceph.command(["pg", "stat"]))
        if seen:
            tools.progress(action, f"waiting for all copies to be there: {seen}")
        return seen

    await wait_until(look, deadline_s=EMPTY_TIMEOUT_S, what="all placement groups to be active+clean", every_s=2)


def describe_unclean(status: object) -> str:
    """What of `ceph pg stat` has not all its copies; "" when nothing."""
    summary = status.get("pg_summary", status) if isinstance(status, dict) else {}
    states = {str(row["name"]): int(row["num"]) for row in summary.get("num_pg_by_state", ())}
    other = {name: count for name, count in states.items() if not {"active", "clean"} <= set(name.split("+"))}
    if states and not other:
        return ""
    return ", ".join(f"{count} {name}" for name, count in other.items()) or "no placement groups yet"


async def _remove_daemon(action: Action, tools: Tools, ceph: Ceph, name: str) -> None:
    """Without a storage VM there is no daemon; one that only does not answer keeps its OSD up, which is seen next."""
    fsid = (await ceph.text(["fsid"])).strip()
    argv = ["cephadm", "rm-daemon", "--fsid", fsid, "--name", f"osd.{name}", "--force", "--force-delete-data"]
    try:
        guest = await tools.storage_vm(action.host)
        await guest.run(argv, timeout_s=REMOVE_TIMEOUT_S)
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


async def _give_up(action: Action, tools: Tools, ceph: Ceph, command: list[str]) -> None:
    async def give_up() -> str:
        try:
            await ceph.text(command)
        except CephRefused as error:
            if error.code not in NOT_YET:
                raise
            tools.progress(action, error.brief)
            return error.brief
        return ""

    await wait_until(give_up, deadline_s=EMPTY_TIMEOUT_S, what="Ceph to let the OSD go", every_s=2)
