"""The Ceph pool of an SR: how many replicas, how many must be there to write, marked for rbd."""

from __future__ import annotations

from typing import Any

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.steps import ceph_tuning, settings
from shoal.steps.tools import Tools

timeout_s = 180.0
APPLICATION = "rbd"


async def apply(action: Action, tools: Tools) -> None:
    ceph, name = await tools.ceph(), action.target
    await ceph_tuning.apply(action, ceph)
    pool = await _find(ceph, name)
    replicas, min_replicas = settings.number(action, "replicas"), settings.number(action, "min_replicas")
    if pool is None:
        await ceph.text(["osd", "pool", "create", name, f"--size={replicas}"], timeout_s=60)
        pool = {}
    if pool.get("size") != replicas:
        sure = ["--yes-i-really-mean-it"] if replicas == 1 else []
        await ceph.text(["osd", "pool", "set", name, "size", str(replicas), *sure], timeout_s=60)
        pool = {**pool, "min_size": None}  # by that Ceph makes it what it would be in a new pool
    if pool.get("min_size") != min_replicas:
        await ceph.text(["osd", "pool", "set", name, "min_size", str(min_replicas)], timeout_s=60)
    if APPLICATION not in pool.get("application_metadata", {}):
        await ceph.text(["osd", "pool", "application", "enable", name, APPLICATION], timeout_s=60)


async def verify(action: Action, tools: Tools) -> str:
    pool = await _find(await tools.ceph(), action.target)
    if pool is None:
        return "there is no such pool"
    wanted = {"size": settings.number(action, "replicas"), "min_size": settings.number(action, "min_replicas")}
    wrong = [f"{key} is {pool.get(key)}" for key, value in wanted.items() if pool.get(key) != value]
    if APPLICATION not in pool.get("application_metadata", {}):
        wrong.append("not marked for rbd")
    return ", ".join(wrong)


async def _find(ceph: Ceph, name: str) -> dict[str, Any] | None:
    pools = await ceph.command(["osd", "pool", "ls", "detail"])
    found = [pool for pool in pools if pool["pool_name"] == name] if isinstance(pools, list) else []
    return found[0] if found else None
