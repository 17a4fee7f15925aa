"""Named locks in a pool that end by themselves, by the OSDs' clock. Each belongs to an owner, not to a connection.

So an owner may renew a lock at any service. Nothing but work is saved by them: two owners may both believe to have one.
"""

from __future__ import annotations

import time
from typing import Any, Optional

import rados

from volumes import lockers
from volumes.errors import ServiceError
from volumes.lockers import Locker
from volumes.pool import Pool

PREFIX = "shoal.lock."
LOCK = "shoal"
_TRIES = 3


def take(pool: Pool, name: str, owner: str, ttl_s: int) -> dict[str, Any]:
    """Take it or renew it; 409 `held` if somebody else has it."""
    for _ in range(_TRIES):
        try:
            lockers.take(pool.ioctx, PREFIX + name, LOCK, owner, ttl_s)
        except (rados.ObjectBusy, rados.ObjectExists):
            found = _holder(pool, name)
            if found is None:
                continue  # it has just ended
            if found.description != owner:
                message = f"lock {name} is held by {found.description}"
                raise ServiceError(409, "held", message, **_describe(found)) from None
            # Taken through another service, whose connection it is kept for.
            lockers.take_away(pool.ioctx, PREFIX + name, LOCK, found)
        else:
            return {"owner": owner, "remaining_s": float(ttl_s)}
    raise ServiceError(409, "held", f"lock {name} changes hands all the time")


def read(pool: Pool, name: str) -> dict[str, Any]:
    """Who has it: `owner` is null when nobody has. To ask takes nothing from anybody."""
    found = _holder(pool, name)
    return {"owner": None} if found is None else _describe(found)


def release(pool: Pool, name: str, owner: str) -> dict[str, Any]:
    """Give it back. Who has it afterwards: nobody, or somebody else."""
    found = _holder(pool, name)
    if found is not None and found.description == owner:
        lockers.take_away(pool.ioctx, PREFIX + name, LOCK, found)
        return {"owner": None}
    return {"owner": None} if found is None else _describe(found)


def _holder(pool: Pool, name: str) -> Optional[Locker]:
    found = lockers.read(pool.ioctx, PREFIX + name, LOCK)
    return found[0] if found else None


def _describe(locker: Locker) -> dict[str, Any]:
    return {"owner": locker.description, "remaining_s": max(0.0, round(locker.expires_at - time.time(), 1))}
