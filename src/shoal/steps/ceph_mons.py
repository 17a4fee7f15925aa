"""Monitors on the hosts that the plan names; done when all of them are in quorum."""

from __future__ import annotations

from typing import Any

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.steps import orchestrator, settings
from shoal.steps.tools import Tools

timeout_s = 420.0


async def apply(action: Action, tools: Tools) -> None:
    names = settings.texts(action, "names")
    await orchestrator.place(action, tools, "mon", _look, what=f"{len(names)} monitors in quorum")


async def verify(action: Action, tools: Tools) -> str:
    return await _look(await tools.ceph(), settings.texts(action, "names"))


def v1_addresses(mon_map: object) -> tuple[str, ...]:
    """ "10.77.0.21:6789" of each monitor, from `ceph mon dump`: what the hosts' kernels need."""
    mons: list[dict[str, Any]] = mon_map.get("mons", []) if isinstance(mon_map, dict) else []
    return tuple(
        sorted(
            str(address["addr"])
            for mon in mons
            for address in mon["public_addrs"]["addrvec"]
            if address["type"] == "v1"
        )
    )


async def _look(ceph: Ceph, names: tuple[str, ...]) -> str:
    status = await ceph.command(["quorum_status"])
    inside = set(status.get("quorum_names", ())) if isinstance(status, dict) else set()
    missing = [name for name in names if name not in inside]
    return (
        f"{len(names) - len(missing)} of {len(names)} monitors in quorum, not {', '.join(missing)}" if missing else ""
    )
