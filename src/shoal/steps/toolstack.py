"""Restarts a host's toolstack so that it finds Shoal's driver: xapi looks for drivers only when it starts.

Running VMs are not touched by it. The host's mark shoal:kit says which kit its toolstack was last restarted with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from shoal.clients.ssh import Ssh, Unreachable
from shoal.clients.xenapi import XenApi
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.dom0_kit import SR_TYPE
from shoal.steps.tools import Tools

timeout_s = 540.0
# xapi writes this file when its start is through; before that it answers, and has no driver yet (xapi.ml).
COMPLETE = "/var/run/xapi_init_complete.cookie"
RESTART = f"rm -f {COMPLETE} && exec xe-toolstack-restart"
RESTART_TIMEOUT_S = 180.0
ANSWER_TIMEOUT_S = 300.0
KIT_MARK = "shoal:kit"
# Waits there for a while: a new command each second would hold up a slow dom0, which has its toolstack to start.
AWAIT = f"for _ in 1 2 3 4 5 6 7 8; do [ ! -e {COMPLETE} ] || exit 0; sleep 1; done; exit 1"
AWAIT_TIMEOUT_S = 30.0
SETTLE_S = 1.0
LOOK_TIMEOUT_S = 20.0


async def apply(action: Action, tools: Tools) -> None:
    dom0, xenapi = await tools.dom0(action.target), tools.xenapi
    await restart(action, tools, dom0, lambda: _look(xenapi, action.target))
    host = await records.host_ref(xenapi, action.target)
    await records.set_mark(xenapi, "host", host, KIT_MARK, settings.text(action, "kit"))


async def verify(action: Action, tools: Tools) -> str:
    seen = await _look(tools.xenapi, action.target)
    if seen:
        return seen
    host = await tools.xenapi.record("host", await records.host_ref(tools.xenapi, action.target))
    is_marked = records.config_of(host).get(KIT_MARK) == settings.text(action, "kit")
    return "" if is_marked else f"the host has no mark {KIT_MARK} of this kit"


async def restart(action: Action, tools: Tools, dom0: Ssh, look: Callable[[], Awaitable[str]]) -> None:
    """Restart it and wait until its start is through and `look` finds nothing that is not as wanted."""
    tools.progress(action, "restarting the toolstack")
    await _restart(dom0)
    await asyncio.sleep(SETTLE_S)
    tools.progress(action, "waiting until it answers")

    is_started = False

    async def look_when_started() -> str:
        nonlocal is_started
        if not is_started:
            is_started = not (await dom0.run(["sh", "-c", AWAIT], timeout_s=AWAIT_TIMEOUT_S, check=False)).code
        return await look() if is_started else "its start is not through"

    await wait_until(
        look_when_started, deadline_s=ANSWER_TIMEOUT_S, what=f"the toolstack of {action.target} to come back as wanted"
    )


async def _restart(dom0: Ssh) -> None:
    try:
        await dom0.run(["sh", "-c", RESTART], timeout_s=RESTART_TIMEOUT_S)
    except Unreachable:
        # The restart does not end SSH; if the answer was lost all the same, what follows waits for its effect.
        await dom0.run(["true"], timeout_s=RESTART_TIMEOUT_S)


async def _look(xenapi: XenApi, host: str) -> str:
    """Whether the pool knows the type, and this host takes part again."""
    types = {str(record["type"]) for record in (await xenapi.records("SM")).values()}
    if SR_TYPE not in types:
        return f"the pool knows SRs of type {', '.join(sorted(types))}"
    return await look_at_host(xenapi, host)


async def look_at_host(xenapi: XenApi, host: str) -> str:
    """Whether this host takes part in the pool."""
    record = await xenapi.record("host", await records.host_ref(xenapi, host))
    if not record["enabled"]:
        return f"{host} is not enabled yet"
    metrics = await xenapi.record("host_metrics", str(record["metrics"]))
    return "" if metrics["live"] else f"{host} is not live yet"
