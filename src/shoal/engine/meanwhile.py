"""While the holder of the pool's lock only waits, for hours perhaps, keepers go on: a mark beside the lock says so.

Whoever else wants the lock waits all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from shoal.engine.lock import WAITS_KEY, Toolstack
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import TimedOut, wait_until

END_TIMEOUT_S = 20.0
PAUSE_S = 1.0


class Meanwhile:
    """`async with meanwhile():` in each step that waits; the mark is there as long as any of them does."""

    def __init__(self, toolstack: Toolstack) -> None:
        self._toolstack = toolstack
        self._waiting = 0
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        await self._count(1)
        try:
            yield
        finally:
            await self._count(-1)

    async def _count(self, change: int) -> None:
        async with self._turn:
            before, self._waiting = self._waiting, self._waiting + change
            if before == 0:
                with contextlib.suppress(ShoalError):  # without the mark keepers rest
                    await self._call("pool.add_to_other_config", WAITS_KEY, "keepers go on")
            elif self._waiting == 0:
                await self._end()

    async def _end(self) -> None:
        """What follows is done without keepers, if the toolstack can be told in time. The mark goes with the lock."""
        with contextlib.suppress(TimedOut):
            await wait_until(self._take_away, deadline_s=END_TIMEOUT_S, what="keepers to rest", every_s=PAUSE_S)

    async def _take_away(self) -> str:
        try:
            await self._call("pool.remove_from_other_config", WAITS_KEY)
        except ShoalError as error:
            return error.brief
        return ""

    async def _call(self, method: str, *params: str) -> None:
        pools = await self._toolstack.call("pool.get_all")
        assert isinstance(pools, list), "a list of references"
        await self._toolstack.call(method, pools[0], *params)
