"""A storage VM is no host of the Ceph cluster any more: its monitor, manager and volume service go, others take over.

The others are in quorum before the orchestrator takes anything from it, and no OSD is left on it by then. From one that
is dead nothing can be taken: the cluster forgets it.
"""

from __future__ import annotations

import json
from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import orchestrator, settings
from shoal.steps.ceph_mgrs import describe_missing
from shoal.steps.tools import Tools
from shoal.steps.volume_services import compose

timeout_s = 1800.0
MOVE_TIMEOUT_S = 600.0
ENOENT = 2


class NotYet(TemporaryError):
    """The orchestrator refused for now: the manager has just moved, or was busy."""


async def apply(action: Action, tools: Tools) -> None:
    name, mons, mgrs = settings.text(action, "name"), settings.texts(action, "mons"), settings.texts(action, "mgrs")
    is_dead = settings.flag(action, "is_dead")
    leaving = "" if is_dead else name  # the orchestrator takes no daemon from a host that does not answer
    await _place(action, tools, ["orch", "apply", "mon", f"--placement={','.join(mons)}"])
    await _wait(action, tools, lambda ceph: _look_at_mons(ceph, leaving, mons), f"monitors on {', '.join(mons)}")
    await _place(action, tools, ["orch", "apply", "mgr", f"--placement={','.join(mgrs)}"])
    await _wait(action, tools, lambda ceph: _hand_over(ceph, name, mgrs), f"managers on {', '.join(mgrs)}")
    service = json.dumps(compose(settings.texts(action, "others"), settings.text(action, "image"))).encode()
    await _place(action, tools, ["orch", "apply", "-i", "-"], service)
    if name in await _hosts(await tools.ceph()):
        if admin := settings.text(action, "admin"):
            await _place(action, tools, ["orch", "host", "label", "add", admin, "_admin"])
        if not is_dead:
            await _place(action, tools, ["orch", "host", "drain", name])
            await _wait(action, tools, lambda ceph: _look_at_daemons(ceph, name), f"all daemons to leave {name}")
    # Before the orchestrator forgets the host: by that a run that was cut off sees what is left to do.
    await _forget(tools, ["osd", "crush", "rm", name])
    if is_dead:
        await _forget(tools, ["mon", "rm", name])
    if name in await _hosts(await tools.ceph()):
        if is_dead:
            await _wait(action, tools, lambda ceph: _look_for_strangers(ceph, name), f"{name} to have no OSD left")
        offline = ["--offline"] if is_dead else []  # refused until the orchestrator has seen that it is
        await _place(action, tools, ["orch", "host", "rm", name, *offline, "--force"])


async def verify(action: Action, tools: Tools) -> str:
    ceph, name = await tools.ceph(), settings.text(action, "name")
    if name in await _hosts(ceph):
        return "it is still a host of the cluster"
    return await _look_at_mons(ceph, name, settings.texts(action, "mons"))


async def _place(action: Action, tools: Tools, command: list[str], data: bytes | None = None) -> None:
    async def ask(ceph: Ceph) -> str:
        try:
            await orchestrator.order(ceph, tools, command, input=data)
        except CephRefused as error:
            raise NotYet(error.brief, details=error.details) from error
        return ""

    await _wait(action, tools, ask, f"Ceph to take: {' '.join(command)}")


async def _forget(tools: Tools, command: list[str]) -> None:
    try:
        await (await tools.ceph()).text(command)
    except CephRefused as error:
        if error.code != ENOENT:
            raise


async def _hand_over(ceph: Ceph, name: str, mgrs: tuple[str, ...]) -> str:
    """The orchestrator is a part of the active manager, and some releases of it never remove that one: it stands by."""
    found = await ceph.command(["mgr", "dump"])
    missing, active = (
        describe_missing(found, mgrs),
        str(found.get("active_name", "")) if isinstance(found, dict) else "",
    )
    if missing or active.rpartition(".")[0] != name:
        return missing
    try:
        await ceph.text(["mgr", "fail", active])
    except CephRefused as error:
        raise NotYet(error.brief) from error
    return f"{active} hands over"


async def _wait(action: Action, tools: Tools, look: Any, what: str) -> None:
    """Asked anew each time, of whichever monitor there is by then."""

    async def ask() -> str:
        seen = str(await look(await tools.ceph()))
        if seen:
            tools.progress(action, seen)
        return seen

    await wait_until(orchestrator.watch(ask, tools), deadline_s=MOVE_TIMEOUT_S, what=what, every_s=2)


async def _look_at_mons(ceph: Ceph, name: str, mons: tuple[str, ...]) -> str:
    status = await ceph.command(["quorum_status"])
    if not isinstance(status, dict):
        raise ShoalError("Ceph says nothing of its quorum")
    inside = set(status.get("quorum_names", ()))
    missing = [mon for mon in mons if mon not in inside]
    if missing:
        return f"not in quorum yet: {', '.join(missing)}"
    known = {str(mon["name"]) for mon in status["monmap"]["mons"]}
    return f"{name} is still a monitor" if name in known else ""


async def _look_at_daemons(ceph: Ceph, name: str) -> str:
    try:
        found = await ceph.command(["orch", "ps", name, "--refresh"], timeout_s=60)
    except CephRefused as error:
        raise NotYet(error.brief) from error
    daemons = [str(row["daemon_name"]) for row in _rows(found)]
    return f"still there: {', '.join(daemons)}" if daemons else ""


async def _look_for_strangers(ceph: Ceph, name: str) -> str:
    """With --offline the orchestrator purges what it remembers there; an id may be another host's OSD by now."""
    try:
        found = await ceph.command(["orch", "ps", name])
    except CephRefused as error:
        raise NotYet(error.brief) from error
    there = {str(osd) for osd in _rows(await ceph.command(["osd", "ls"]))}
    remembered = {str(row["daemon_id"]) for row in _rows(found) if row["daemon_type"] == "osd"}
    if both := sorted(there & remembered):
        names = ", ".join(f"osd.{osd}" for osd in both)
        raise ShoalError(
            f"the orchestrator takes {names} for {name}'s, and would purge it",
            resolution="Nothing else of it is left in Ceph. Leave the host in `ceph orch host ls`.",
        )
    return ""


async def _hosts(ceph: Ceph) -> set[str]:
    try:
        found = await ceph.command(["orch", "host", "ls"])
    except CephRefused as error:
        raise NotYet(error.brief) from error
    return {str(host["hostname"]) for host in _rows(found)}


def _rows(found: object) -> list[Any]:
    """No answer must not look like nothing there."""
    if not isinstance(found, list):
        raise NotYet("the orchestrator gives no list")
    return found
