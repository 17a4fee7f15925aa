"""What steps work with: the connections of this run, a place to report progress, and locks between steps.

Must not know what any single step does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shoal.plan.action import Action

if TYPE_CHECKING:
    from shoal.clients.ceph import Ceph
    from shoal.clients.connections import Connections
    from shoal.clients.ssh import Ssh
    from shoal.clients.xenapi import XenApi


@dataclass(frozen=True, slots=True)
class Tools:
    """Made once per run of `apply`."""

    connections: Connections
    progress: Callable[[Action, str], None]
    """Called with what an action is doing right now, in words and figures for a person."""
    locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By name: for things that several steps of one run may want to make at the same time."""
    done: set[str] = field(default_factory=set)
    """By name: what is to be done once per run, whichever step comes first."""
    kept: dict[str, object] = field(default_factory=dict)
    """By name: what was found once and stays so for the run."""
    alone: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext
    """While it lasts no `apply` is at work on the pool, for a run that does not exclude it as a whole."""
    meanwhile: Callable[[], AbstractAsyncContextManager[None]] = contextlib.nullcontext
    """While it lasts keepers go on although this run has the pool's lock: for a step that waits for hours."""

    @property
    def xenapi(self) -> XenApi:
        return self.connections.xenapi

    async def dom0(self, host: str) -> Ssh:
        return await self.connections.dom0(host)

    async def storage_vm(self, host: str) -> Ssh:
        return await self.connections.storage_vm(host)

    async def ceph(self) -> Ceph:
        return await self.connections.ceph()
