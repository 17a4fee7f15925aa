"""Managers on the hosts that the plan names: one works, the others stand by."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.steps import orchestrator, settings
from shoal.steps.tools import Tools

timeout_s = 420.0


async def apply(action: Action, tools: Tools) -> None:
    names = settings.texts(action, "names")
    await orchestrator.place(action, tools, "mgr", _look, what=f"managers on {', '.join(names)}")


async def verify(action: Action, tools: Tools) -> str:
    return await _look(await tools.ceph(), settings.texts(action, "names"))


async def _look(ceph: Ceph, names: tuple[str, ...]) -> str:
    return describe_missing(await ceph.command(["mgr", "dump"]), names)


def describe_missing(found: object, names: tuple[str, ...]) -> str:
    """Which of these hosts have no manager in `ceph mgr dump`; "" when all have."""
    if not isinstance(found, dict):
        return "no manager map"
    # A manager is called HOST.SUFFIX.
    there = [str(found.get("active_name", "")), *(str(standby["name"]) for standby in found.get("standbys", ()))]
    missing = [name for name in names if not any(mgr.rpartition(".")[0] == name for mgr in there)]
    return f"no manager yet on {', '.join(missing)}" if missing else ""
