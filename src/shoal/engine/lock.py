"""One apply at a time: a lock that lies in the pool itself, so that it holds across workstations.

`add_to_other_config` refuses a key that is there, which makes it an atomic test-and-set. The sign of life is a key of
its own, so that renewing it never opens a gap in the lock. Time is the pool's, so that no workstation's clock matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shoal.engine.process import Process, is_gone, this_process
from shoal.kit.errors import ShoalError

KEY = "shoal:lock"
RENEWED = "-renewed"  # after the key: the sign of life
RENEWED_KEY = "shoal:lock-renewed"
WAITS = "-waits"  # after the key, see meanwhile.py
WAITS_KEY = f"{KEY}{WAITS}"
RENEW_EVERY_S = 20.0
STALE_AFTER_S = 90.0
SETTLE_S = 1.0  # after taking over a dead lock: time for another one that does the same to show itself
NEXT_SIGN_S = 25.0  # a holder takes its sign of life away before it gives the next one, and that may fail once


class Toolstack(Protocol):
    async def call(self, method: str, *params: object) -> object: ...


class LockHeld(ShoalError):
    """Another apply works on this pool."""


class LockLost(ShoalError):
    """The pool says that the lock is not ours any more."""


@dataclass(frozen=True, slots=True)
class Holder:
    token: str
    since: str
    process: Process

    def to_json(self) -> str:
        return json.dumps({"token": self.token, "since": self.since, **self.process.to_dict()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Holder:
        """A damaged lock reads as one of nobody, which grows stale as any other."""
        try:
            values = json.loads(text)
            return cls(str(values.get("token", "")), str(values.get("since", "")), Process.from_dict(values))
        except (ValueError, AttributeError, TypeError):
            return cls("", "", Process("somebody", "an unknown machine", "", 0, 0))


class PoolLock:
    """`key`: what is locked, in the pool's other_config; `who`: what others are told who has it."""

    def __init__(
        self,
        toolstack: Toolstack,
        *,
        key: str = KEY,
        who: str = "another apply",
        stale_after_s: float = STALE_AFTER_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._toolstack = toolstack
        self._key, self._renewed_key, self._name = key, f"{key}{RENEWED}", who
        self._stale_after_s = stale_after_s
        self._settle_s = settle_s
        self._pool = ""
        self._token = secrets.token_hex(8)

    async def acquire(self) -> None:
        """Take the lock, also from a holder that is surely gone. Raises LockHeld otherwise."""
        self._pool = str((await self._list("pool.get_all"))[0])
        if not await self._try_add():
            await self._take_over()
        await self.renew()
        await self._remove(f"{self._key}{WAITS}")  # of one that was killed

    async def renew(self) -> None:
        """Give a sign of life. Raises LockLost when the lock is someone else's by now."""
        config = await self._other_config()
        if Holder.from_json(config.get(self._key, "")).token != self._token:
            raise LockLost(
                "the pool's lock was taken away from this run; it stops here",
                details=_who(Holder.from_json(config[self._key])) if self._key in config else "the lock has gone",
                resolution="See what the other one does, then run the same command again: it goes on where it stopped.",
            )
        sign = f"{self._token} {(await self._now()).isoformat()}"
        await self._remove(self._renewed_key)
        with contextlib.suppress(ShoalError):  # only a sign of life: the next one comes in time
            await self._toolstack.call("pool.add_to_other_config", self._pool, self._renewed_key, sign)

    async def release(self) -> None:
        config = await self._other_config()
        if Holder.from_json(config.get(self._key, "")).token == self._token:
            for key in (f"{self._key}{WAITS}", self._renewed_key, self._key):
                await self._remove(key)

    async def _try_add(self) -> bool:
        holder = Holder(self._token, (await self._now()).isoformat(), this_process())
        try:
            await self._toolstack.call("pool.add_to_other_config", self._pool, self._key, holder.to_json())
        except ShoalError as error:
            if getattr(error, "code", "") != "MAP_DUPLICATE_KEY":
                raise
            return False
        return True

    async def _take_over(self) -> None:
        config = await self._other_config()
        if await self._is_silent(config):
            config = await self._await_sign()
        if self._key not in config:  # released just now
            if await self._try_add():
                return
            config = await self._other_config()
        holder = Holder.from_json(config.get(self._key, ""))
        if not (await self._is_silent(config) or is_gone(holder.process)):
            age_s = await self._silence_s(config, holder)
            raise LockHeld(
                f"{self._name} holds the pool's lock: {_who(holder)}",
                details=f"its last sign of life was {age_s:.0f} s ago",
                resolution=f"Wait for its end. It is taken for dead {self._stale_after_s:.0f} s after a sign of life.",
            )
        await self._remove(self._key)
        taken = await self._try_add()
        await asyncio.sleep(self._settle_s)
        now = Holder.from_json((await self._other_config()).get(self._key, ""))
        if not taken or now.token != self._token:
            raise LockHeld(f"{self._name} was quicker: {_who(now)}", resolution="Wait until it ends.")

    async def _await_sign(self) -> dict[str, str]:
        """A lock without any sign of life is looked at again: its holder may be giving one just now."""
        end = time.monotonic() + NEXT_SIGN_S
        while True:
            config = await self._other_config()
            holder = Holder.from_json(config.get(self._key, ""))
            has_sign = config.get(self._renewed_key, "").partition(" ")[0] == holder.token
            if not holder.token or has_sign or is_gone(holder.process) or time.monotonic() > end:
                return config
            await asyncio.sleep(self._settle_s)

    async def _is_silent(self, config: dict[str, str]) -> bool:
        return await self._silence_s(config, Holder.from_json(config.get(self._key, ""))) >= self._stale_after_s

    async def _silence_s(self, config: dict[str, str], holder: Holder) -> float:
        """Seconds since the holder's last sign of life; a holder that never gave one, since it took the lock."""
        token, _, renewed = config.get(self._renewed_key, "").partition(" ")
        text = renewed if token and token == holder.token else holder.since
        try:
            return (await self._now() - datetime.fromisoformat(text)).total_seconds()
        except (ValueError, TypeError):
            return self._stale_after_s  # nobody that Shoal knows writes such a lock

    async def _remove(self, key: str) -> None:
        await self._toolstack.call("pool.remove_from_other_config", self._pool, key)

    async def _other_config(self) -> dict[str, str]:
        config = await self._toolstack.call("pool.get_other_config", self._pool)
        return {str(key): str(value) for key, value in config.items()} if isinstance(config, dict) else {}

    async def _now(self) -> datetime:
        # Of the master that there is now: the one of before may be off.
        master = await self._toolstack.call("pool.get_master", self._pool)
        text = str(await self._toolstack.call("host.get_servertime", master))
        return datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=UTC)

    async def _list(self, method: str) -> list[object]:
        found = await self._toolstack.call(method)
        return found if isinstance(found, list) else []


@contextlib.asynccontextmanager
async def hold(lock: PoolLock, *, renew_every_s: float = RENEW_EVERY_S) -> AsyncIterator[None]:
    """Hold the lock while the body runs; when it is lost the body is cancelled and LockLost raised."""
    body = asyncio.current_task()
    assert body is not None
    await _acquire(lock)
    lost: list[LockLost] = []

    async def keep() -> None:
        while True:
            await asyncio.sleep(renew_every_s)
            try:
                await lock.renew()
            except LockLost as error:
                lost.append(error)
                body.cancel()
                return
            except ShoalError:
                continue  # the toolstack restarts, perhaps by our own doing, or refuses for now: the lock outlives that

    keeper = asyncio.create_task(keep())
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            body.uncancel()
            raise lost[0] from None
        raise
    finally:
        keeper.cancel()
        await _let_go(lock)


async def _acquire(lock: PoolLock) -> None:
    """Acquire to the end even when cancelled meanwhile: a request that is on its way may still take the lock."""
    acquiring = asyncio.create_task(lock.acquire())
    try:
        await asyncio.shield(acquiring)
    except asyncio.CancelledError:
        with contextlib.suppress(ShoalError):
            await acquiring
            await _let_go(lock)
        raise


async def _let_go(lock: PoolLock) -> None:
    with contextlib.suppress(ShoalError, TimeoutError):  # then it grows stale by itself
        async with asyncio.timeout(10):
            await lock.release()


def _who(holder: Holder) -> str:
    process = holder.process
    return f"{process.user}@{process.machine} (pid {process.pid}), since {holder.since[:19].replace('T', ' ')} UTC"
