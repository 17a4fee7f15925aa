"""An RBD namespace in a pool, made by `rbd` beside a monitor. An empty one costs nothing, and none is ever removed."""

from __future__ import annotations

import json

from shoal.clients.ceph import Ceph, CephRefused
from shoal.plan.action import Action
from shoal.steps import placement_groups, settings
from shoal.steps.tools import Tools

timeout_s = 600.0
EEXIST = 17


async def apply(action: Action, tools: Tools) -> None:
    ceph, pool, name = await tools.ceph(), settings.text(action, "pool"), settings.text(action, "namespace")
    await placement_groups.wait_until_active(action, tools, ceph)
    for each in settings.texts(action, "pools"):
        await ceph.rbd(["pool", "init", each])
    if name in await _names(ceph, pool):
        return
    try:
        await ceph.rbd(["namespace", "create", "--pool", pool, "--namespace", name])
    except CephRefused as error:
        if error.code != EEXIST:
            raise


async def verify(action: Action, tools: Tools) -> str:
    found = await _names(await tools.ceph(), settings.text(action, "pool"))
    return "" if settings.text(action, "namespace") in found else "there is no such namespace"


async def _names(ceph: Ceph, pool: str) -> tuple[str, ...]:
    said = await ceph.rbd(["namespace", "ls", "--pool", pool, "--format", "json"])
    return tuple(str(row["name"]) for row in json.loads(said or "[]"))
