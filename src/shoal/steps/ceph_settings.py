"""Ceph's settings, in its own configuration database: those that the plan names, and no other."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.plan.found import same_value
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 120.0


async def apply(action: Action, tools: Tools) -> None:
    ceph = await tools.ceph()
    for name, value in (await _wrong(action, ceph)).items():
        section, _, option = name.partition("/")
        await ceph.text(["config", "set", section, option, value])


async def verify(action: Action, tools: Tools) -> str:
    wrong = await _wrong(action, await tools.ceph())
    return f"not as wanted: {', '.join(wrong)}" if wrong else ""


async def _wrong(action: Action, ceph: Ceph) -> dict[str, str]:
    wanted, found = settings.table(action, "settings"), await _read(ceph)
    return {n: value for n, value in wanted.items() if n not in found or not same_value(found[n], value)}


async def _read(ceph: Ceph) -> dict[str, str]:
    found = await ceph.command(["config", "dump"])
    rows = found if isinstance(found, list) else []
    return {f"{row['section']}/{row['name']}": str(row["value"]) for row in rows}
