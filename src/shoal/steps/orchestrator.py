"""Ceph's orchestrator is a module of the manager, which may fail, and then does nothing more until it is started anew.

Seen with cephadm of Ceph 18.2: two orders at the same moment, and PyYAML's representer fails in one of its threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.errors import TemporaryError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.tools import Tools

LOOK_EVERY = 4
"""Waits look for a failed module at each so-manieth of their own looks: each question costs Ceph a process."""
PLACE_TIMEOUT_S = 360.0
AGAIN_S = 60.0  # a manager needs time to start anew
MODULES = ("cephadm", "orchestrator")
NO_MANAGER = 22  # EINVAL
Look = Callable[[Ceph, tuple[str, ...]], Awaitable[str]]  # what is missing on hosts of these names, "" for nothing


async def place(action: Action, tools: Tools, kind: str, look: Look, *, what: str) -> None:
    """`ceph orch apply KIND` on the hosts that the action names; done when `look` finds nothing missing on them.

    Raises TimedOut, which says what is missing.
    """
    ceph, names = await tools.ceph(), settings.texts(action, "names")
    await order(ceph, tools, ["orch", "apply", kind, f"--placement={','.join(names)}"])

    async def look_on() -> str:
        missing = await look(ceph, names)
        if missing:
            tools.progress(action, missing)
        return missing

    await wait_until(watch(look_on, tools), deadline_s=PLACE_TIMEOUT_S, what=what, every_s=3)


async def order(ceph: Ceph, tools: Tools, argv: list[str], *, input: bytes | None = None) -> None:
    """One order after the other."""
    async with tools.locks["orchestrator"]:
        await ceph.text(argv, timeout_s=60, input=input)


def watch(look: Callable[[], Awaitable[str]], tools: Tools) -> Callable[[], Awaitable[str]]:
    """The same look; but what waits for the orchestrator in vain sees to it that it goes on."""
    count = 0

    async def again() -> str:
        nonlocal count
        count += 1
        try:
            seen = await look()
        except TemporaryError as error:
            seen = error.brief
        if seen and count % LOOK_EVERY == 0 and (failed := await revive(await tools.ceph(), tools)):
            return f"{seen}; {failed}"
        return seen

    return again


async def revive(ceph: Ceph, tools: Tools) -> str:
    """Start the manager anew if its orchestrator has failed. What was done, "" for nothing."""
    async with tools.locks["orchestrator"]:
        failed = failed_module(await ceph.command(["health", "detail"]))
        now, before = asyncio.get_running_loop().time(), tools.kept.get("manager restarted at")
        if not failed or (isinstance(before, float) and now - before < AGAIN_S):
            return ""
        try:
            await ceph.text(["mgr", "fail"])
        except CephRefused as error:
            if error.code != NO_MANAGER:
                raise
            return ""  # none works now: the next look sees the one that comes
        tools.kept["manager restarted at"] = now
        return f"the manager starts anew: {failed}"


def failed_module(health: object) -> str:
    """What `ceph health detail` says of an orchestrator that has failed; "" when it has not."""
    checks = health.get("checks", {}) if isinstance(health, dict) else {}
    error = checks.get("MGR_MODULE_ERROR", {}) if isinstance(checks, dict) else {}
    messages = [str(row.get("message", "")) for row in error.get("detail", ())] if isinstance(error, dict) else []
    return next((text for text in messages if any(f"'{module}'" in text for module in MODULES)), "")
