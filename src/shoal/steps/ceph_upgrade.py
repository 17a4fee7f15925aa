"""Ceph's daemons run another image, one after the other: cephadm's own rolling upgrade, started or followed.

It goes on when this machine goes away; whoever runs the command again follows it.
"""

from __future__ import annotations

import asyncio
import time

from shoal.clients.ceph import CephRefused
from shoal.facts.ceph_upgrade import CephUpgrade
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.observe.ceph_upgrade import look_at_upgrade
from shoal.observe.reading import NotUnderstood
from shoal.plan.action import Action
from shoal.plan.ceph_upgrade import is_on, is_target
from shoal.steps import orchestrator, settings
from shoal.steps.tools import Tools

timeout_s = 6 * 3600.0
SILENCE_S = 600.0  # without an answer: a manager that fails over takes a minute or two
EVERY_S = 10.0  # each look costs Ceph four processes
FAILED = "UPGRADE_"  # the orchestrator's own health checks: UPGRADE_FAILED_PULL, UPGRADE_REDEPLOY_DAEMON, …


async def apply(action: Action, tools: Tools) -> None:
    image = settings.text(action, "image")
    seen = await look_at_upgrade(await tools.ceph())
    if seen.in_progress and seen.target and not is_target(seen.target, image, settings.text(action, "digest")):
        raise ShoalError(f"an upgrade to {seen.target} is under way", resolution="Name that image to follow it.")
    if seen.is_paused:
        # `start` would go on, too, but leaves the error that it stopped for among Ceph's health checks.
        tools.progress(action, f"going on with the upgrade to {image}")
        await (await tools.ceph()).text(["orch", "upgrade", "resume"], timeout_s=120)
    elif not seen.in_progress and _left(action, seen):
        tools.progress(action, f"starting the upgrade to {image}")
        await (await tools.ceph()).text(["orch", "upgrade", "start", "--image", image], timeout_s=120)
    async with tools.meanwhile():
        await _follow(action, tools)


async def verify(action: Action, tools: Tools) -> str:
    left = _left(action, await look_at_upgrade(await tools.ceph()))
    return f"{', '.join(left)} do not run {settings.text(action, 'image')}" if left else ""


async def _follow(action: Action, tools: Tools) -> None:
    """Until nothing is in progress any more. The manager is replaced, too: for a while it may be silent, or refuse."""
    heard = time.monotonic()
    while True:
        try:
            ceph = await tools.ceph()
            seen, health = await look_at_upgrade(ceph), await ceph.command(["health", "detail"])
            if orchestrator.failed_module(health):
                tools.progress(action, await orchestrator.revive(ceph, tools) or "the manager starts anew")
            heard = time.monotonic()
        except (CephRefused, NotUnderstood, TemporaryError) as error:
            if time.monotonic() - heard > SILENCE_S:
                raise
            tools.progress(action, f"{error.brief}; waiting")
        else:
            if _has_ended(action, seen, health):
                return
            done = len(seen.daemons) - len(_left(action, seen))
            tools.progress(action, f"{done} of {len(seen.daemons)} daemons done. {seen.message}".strip())
        await asyncio.sleep(EVERY_S)


def _has_ended(action: Action, seen: CephUpgrade, health: object) -> bool:
    """Well. Raises when it has ended otherwise."""
    left = _left(action, seen)
    if seen.is_paused:
        failed = _failed(health)
        raise ShoalError(
            f"cephadm stopped the upgrade: {', '.join(failed) or 'it is paused'}",
            details="\n".join([seen.message, *failed.values()]),
            resolution="Mend that, then run the same command again: it goes on.",
        )
    if not seen.in_progress and left:
        raise ShoalError(
            f"the upgrade ended, and {len(left)} daemons do not run {settings.text(action, 'image')}",
            details=", ".join(left),
            resolution="See ceph -W cephadm, then run the same command again.",
        )
    return not seen.in_progress and bool(seen.daemons)  # a manager that has only just begun knows none


def _left(action: Action, seen: CephUpgrade) -> list[str]:
    image, digest = settings.text(action, "image"), settings.text(action, "digest")
    return [daemon.name for daemon in seen.daemons if not is_on(daemon, image, digest)]


def _failed(health: object) -> dict[str, str]:
    """What the orchestrator says of its own upgrade: name of the check → what it found."""
    checks = health.get("checks", {}) if isinstance(health, dict) else {}
    found = {}
    for name in sorted(name for name in checks if name.startswith(FAILED)):
        said = [str(row.get("message", "")) for row in checks[name].get("detail", ())]
        found[name] = "; ".join([str(checks[name].get("summary", {}).get("message", "")), *said])
    return found
