"""Ceph's settings, in its own configuration database: all that the plan names, in one call."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.plan.found import same_value
from shoal.steps import settings
from shoal.steps.ceph_cluster import write_conf
from shoal.steps.tools import Tools

timeout_s = 120.0


async def apply(action: Action, tools: Tools) -> None:
    wanted = settings.table(action, "settings")
    if wanted:
        conf = write_conf(wanted).encode()
        await (await tools.ceph()).text(["config", "assimilate-conf", "-i", "-"], input=conf)


async def verify(action: Action, tools: Tools) -> str:
    wanted, found = settings.table(action, "settings"), await _read(await tools.ceph())
    wrong = [name for name, value in wanted.items() if name not in found or not same_value(found[name], value)]
    return f"not as wanted: {', '.join(wrong)}" if wrong else ""


async def _read(ceph: Ceph) -> dict[str, str]:
    found = await ceph.command(["config", "dump"])
    rows = found if isinstance(found, list) else []
    return {f"{row['section']}/{row['name']}": str(row["value"]) for row in rows}
