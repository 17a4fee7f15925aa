"""Keeps a machine's OSDs in the cluster while it is away for a while: Ceph's flag `noout` for it, with an end.

Ceph's own flag has none. So an object in the pool says which flags are ours and until when, and any service takes one
back whose time is over. A flag that somebody else has set is never touched.
"""

from __future__ import annotations

import errno
import logging
import time
from typing import Any, Protocol

import rados

from volumes.errors import ServiceError
from volumes.pool import Pool

log = logging.getLogger("volumes")
RECORD = "shoal.noout"  # machine → until when, by the clock
_MACHINES_MAX = 1024
_REFUSED = (errno.EPERM, errno.EACCES, errno.EINVAL)  # the monitors have not done it, and will not


class Monitors(Protocol):
    def command(self, **arguments: Any) -> Any: ...

    def order(self, **arguments: Any) -> bytes: ...


def hold(pool: Pool, monitors: Monitors, machine: str, ttl_s: int) -> dict[str, Any]:
    """Set it, or make it last longer. `held` is false where somebody else has set it: then it has no end."""
    is_new = machine not in _read(pool)
    if is_new:
        flags = monitors.command(prefix="osd dump").get("crush_node_flags", {})
        if "noout" in flags.get(machine, ()):
            return {"machine": machine, "held": False}
    # The record first: of a flag without one nobody would know that it has to end.
    _write(pool, machine, time.time() + ttl_s)
    try:
        monitors.order(prefix="osd set-group", flags="noout", who=[machine])
    except ServiceError as error:
        # After a time-out the monitors may do it yet: then the record is what ends it.
        if is_new and error.detail.get("errno") in _REFUSED:
            _forget(pool, machine)
        raise
    return {"machine": machine, "held": True}


def release(pool: Pool, monitors: Monitors, machine: str) -> dict[str, Any]:
    """Take it back, if it is ours. `released` says whether it was."""
    if machine not in _read(pool):
        return {"machine": machine, "released": False}
    try:
        monitors.order(prefix="osd unset-group", flags="noout", who=[machine])
    except ServiceError as error:
        if error.detail.get("errno") != errno.EINVAL:  # else Ceph knows no such machine any more, so it has no flag
            raise
    _forget(pool, machine)
    return {"machine": machine, "released": True}


def end_overdue(pool: Pool, monitors: Monitors) -> list[str]:
    """Take back those whose time is over; which they were. One that cannot be now stops no other."""
    ended = []
    overdue = sorted(machine for machine, until in _read(pool).items() if not until > time.time())
    for machine in overdue:
        try:
            release(pool, monitors, machine)
        except ServiceError as error:
            log.warning("noout cannot be taken back for %s: %s (tried again by the next sweep)", machine, error.message)
        else:
            ended.append(machine)
    return ended


def _read(pool: Pool) -> dict[str, float]:
    with rados.ReadOpCtx() as operation:
        pairs, _ = pool.ioctx.get_omap_vals(operation, "", "", _MACHINES_MAX)
        try:
            pool.ioctx.operate_read_op(operation, RECORD)
        except rados.ObjectNotFound:
            return {}
        return {machine: _seconds(until) for machine, until in pairs}


def _seconds(text: bytes) -> float:
    """What is no number is over: every host can write to the pool, and none shall stop the sweep."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _write(pool: Pool, machine: str, until: float) -> None:
    with rados.WriteOpCtx() as operation:
        pool.ioctx.set_omap(operation, (machine,), (b"%.0f" % until,))
        pool.ioctx.operate_write_op(operation, RECORD)


def _forget(pool: Pool, machine: str) -> None:
    with rados.WriteOpCtx() as operation:
        pool.ioctx.remove_omap_keys(operation, (machine,))
        pool.ioctx.operate_write_op(operation, RECORD)
