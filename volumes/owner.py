"""The owner mark: which SR the volumes of a pool (or namespace) belong to. Two SRs never claim the same images."""

from __future__ import annotations

import json
from typing import Any, Optional

import rados

from volumes import directory, listing
from volumes.errors import ServiceError
from volumes.pool import Pool

MARK = "shoal.owner"


def read(ioctx: Any) -> Optional[str]:
    """The owning SR's uuid, or None."""
    try:
        return str(json.loads(ioctx.read(MARK, 4096))["sr"])
    except rados.ObjectNotFound:
        return None


def claim(pool: Pool, sr: str) -> dict[str, Any]:
    """Make `sr` the owner. Of two that try at once, one wins: the object is made exclusively, with its content.

    Not of disks that lie there without a mark: the SR would take them for its own, whoever's they are.
    """
    ioctx = pool.ioctx
    if read(ioctx) is None:
        _refuse_remaining(pool, None)
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_EXCLUSIVE)
        operation.write_full(_encode(sr))
        try:
            ioctx.operate_write_op(operation, MARK)
        except rados.ObjectExists:
            owner = read(ioctx)
            if owner != sr:
                raise ServiceError(409, "owned", f"the pool belongs to SR {owner}", owner=owner) from None
    return {"sr": sr}


def _encode(sr: str) -> bytes:
    return json.dumps({"sr": sr}).encode()


def release(pool: Pool, sr: str) -> dict[str, Any]:
    """Remove the mark of `sr`, if no volume and no snapshot remains. Without a mark they are counted as well."""
    ioctx = pool.ioctx
    owner = read(ioctx)
    if owner not in (None, sr):
        raise ServiceError(409, "owned", f"the pool belongs to SR {owner}", owner=owner)
    _refuse_remaining(pool, owner)
    if owner is None:
        return {"sr": None}
    with rados.WriteOpCtx() as operation:
        operation.cmpext(_encode(sr), 0)  # whoever is late must not take it from the next owner
        operation.remove()
        directory.operate_if_same(ioctx, operation, MARK)
    return {"sr": None}


def _refuse_remaining(pool: Pool, owner: Optional[str]) -> None:
    remaining = listing.count(pool)
    if remaining:
        message = f"{remaining} volumes and snapshots remain" + ("" if owner else _without_mark(pool))
        raise ServiceError(409, "not_empty", message, volumes=remaining)


def _without_mark(pool: Pool) -> str:
    place = f"-N {pool.namespace} " if pool.namespace else ""
    return (
        f", and the pool has no mark of the SR that they are of. To keep them, write it again with that SR's uuid: echo"
        f""" '{{"sr": "UUID"}}' | rados -p POOL {place}put {MARK} - ; if nobody needs them, remove them with rbd"""
    )
