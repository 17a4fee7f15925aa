"""Ceph's settings, in its own configuration database: all that the plan names."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.plan.found import same_value
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 120.0


async def apply(action: Action, tools: Tools) -> None:
    """One by one: `config assimilate-conf` takes many, but leaves alone what has another value already.

    Few are left to be set: the bootstrap was given them all, and changed osd_memory_target_autotune at its end.
    """
    wanted, ceph = settings.table(action, "settings"), await tools.ceph()
    for name in _wrong(wanted, await _read(ceph)):
        section, _, option = name.partition("/")
        await ceph.text(["config", "set", section, option, wanted[name]])


async def verify(action: Action, tools: Tools) -> str:
    wrong = _wrong(settings.table(action, "settings"), await _read(await tools.ceph()))
    return f"not as wanted: {', '.join(wrong)}" if wrong else ""


def _wrong(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    return [name for name, value in wanted.items() if name not in found or not same_value(found[name], value)]


async def _read(ceph: Ceph) -> dict[str, str]:
    found = await ceph.command(["config", "dump"])
    rows = found if isinstance(found, list) else []
    return {f"{row['section']}/{row['name']}": str(row["value"]) for row in rows}
