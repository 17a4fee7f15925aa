"""Ceph's daemons run another image, one after the other: cephadm's own rolling upgrade, started or followed.

It goes on when this machine goes away; whoever runs the command again follows it.
"""

from __future__ import annotations

import asyncio
import time

from shoal.clients.ceph import CephUnreachable
from shoal.facts.ceph_upgrade import CephUpgrade
from shoal.kit.errors import ShoalError
from shoal.observe.ceph_upgrade import look_at_upgrade
from shoal.plan.action import Action
from shoal.plan.ceph_upgrade import is_on
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 6 * 3600.0
SILENCE_S = 600.0  # without an answer: a manager that fails over takes a minute or two
EVERY_S = 5.0
FAILED = "UPGRADE_"  # the orchestrator's own health checks: UPGRADE_FAILED_PULL, UPGRADE_REDEPLOY_DAEMON, …


async def apply(action: Action, tools: Tools) -> None:
    image = settings.text(action, "image")
    seen = await look_at_upgrade(await tools.ceph())
    if seen.is_paused or (not seen.in_progress and _left(action, seen)):
        # One that is paused goes on; `resume` would go on with one to another image, too, and `start` is refused then.
        tools.progress(action, f"starting the upgrade to {image}")
        await (await tools.ceph()).text(["orch", "upgrade", "start", "--image", image], timeout_s=120)
    await _follow(action, tools)


async def verify(action: Action, tools: Tools) -> str:
    left = _left(action, await look_at_upgrade(await tools.ceph()))
    return f"{', '.join(left)} do not run {settings.text(action, 'image')}" if left else ""


async def _follow(action: Action, tools: Tools) -> None:
    """Until nothing is in progress any more. A manager that is being upgraded itself may be silent for a while."""
    heard = time.monotonic()
    while True:
        try:
            ceph = await tools.ceph()
            seen = await look_at_upgrade(ceph)
            await _refuse_failed(seen, await ceph.command(["health", "detail"]))
            heard = time.monotonic()
        except CephUnreachable as error:
            if time.monotonic() - heard > SILENCE_S:
                raise
            tools.progress(action, f"{error.brief}; waiting")
        else:
            left = _left(action, seen)
            if not seen.in_progress and not left:
                return
            if not seen.in_progress:
                raise ShoalError(
                    f"the upgrade ended, and {len(left)} daemons do not run {settings.text(action, 'image')}",
                    details=", ".join(left),
                    resolution="See ceph -W cephadm, then run the same command again.",
                )
            done = len(seen.daemons) - len(left)
            tools.progress(action, f"{done} of {len(seen.daemons)} daemons done. {seen.message}".strip())
        await asyncio.sleep(EVERY_S)


def _left(action: Action, seen: CephUpgrade) -> list[str]:
    image, version = settings.text(action, "image"), settings.text(action, "version")
    return [daemon.name for daemon in seen.daemons if not is_on(daemon, image, version)]


async def _refuse_failed(seen: CephUpgrade, health: object) -> None:
    checks = health.get("checks", {}) if isinstance(health, dict) else {}
    failed = {name: check for name, check in checks.items() if name.startswith(FAILED)}
    if failed and (seen.is_paused or not seen.in_progress):
        raise ShoalError(
            f"cephadm stopped the upgrade: {', '.join(sorted(failed))}",
            details="\n".join(str(check.get("summary", {}).get("message", "")) for check in failed.values()),
            resolution="Mend that, then run the same command again: it goes on.",
        )
