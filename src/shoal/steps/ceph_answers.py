"""Answers of Ceph that the steps of a run share: each question is a process in a container, half a second of work.

Must not ask anything that changes something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shoal.clients.ceph import Ceph
from shoal.kit.secret import Secret
from shoal.steps.tools import Tools


@dataclass(frozen=True, slots=True)
class _Fresh:
    asked_at: float
    answer: object


async def once(tools: Tools, ceph: Ceph, argv: Sequence[str]) -> Secret:
    """What stays as it is for a run, asked for by whoever comes first. Some of it is a key: all is kept as such."""
    key = f"ceph {' '.join(argv)}, once"
    async with tools.locks[key]:
        found = tools.kept.get(key)
        if not isinstance(found, Secret):
            tools.kept[key] = found = Secret((await ceph.text(argv)).strip())
        return found


async def fresh(tools: Tools, ceph: Ceph, argv: Sequence[str]) -> object:
    """As `ceph.command`. Who asks the same at the same time shares an answer that is never older than the question."""
    key, now = f"ceph {' '.join(argv)}", asyncio.get_running_loop().time
    came_at = now()
    async with tools.locks[key]:
        found = tools.kept.get(key)
        if not isinstance(found, _Fresh) or found.asked_at < came_at:
            asked_at = now()
            tools.kept[key] = found = _Fresh(asked_at, await ceph.command(argv))
        return found.answer
