"""Locks that Ceph's class `lock` keeps on an object: who has one, taking one and taking it away.

The binding cannot say who has one, and the end that it gives to one is not exact: it leaves the microseconds to chance.
Sources in Ceph: src/cls/lock/cls_lock_ops.h (…_lock_op, …_get_info_op and _reply, …_break_op), cls_lock_types.h,
src/msg/msg_types.h (entity_addr_t). It must not know what a lock is for.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Any

import rados

from volumes.encoding import Reader, pack_i64, pack_string, pack_struct

ANSWER_MAX_BYTES = 64 * 1024
CLIENT = 8  # entity_name_t's number for a client
_EXCLUSIVE, _RENEW = 1, 1
_IPV4, _IPV6 = 2, 10
_PROTOCOL = re.compile(r"^(v1|v2|any):")


@dataclass(frozen=True)
class Locker:
    number: int  # of the client, as in client.4123
    cookie: str
    expires_at: float  # by the OSD's clock; 0 for never
    address: str  # address:port/nonce
    description: str

    @property
    def client(self) -> str:
        return f"client.{self.number}"


def read(ioctx: Any, name: str, lock: str) -> list[Locker]:
    """Those that have the lock on an object; none where there is no such object."""
    request = pack_struct(1, 1, pack_string(lock))
    try:
        _, answer = ioctx.execute(name, "lock", "get_info", request, ANSWER_MAX_BYTES)
    except rados.ObjectNotFound:
        return []
    _, _, fields = Reader(answer).structure()
    return [_read_locker(fields) for _ in range(fields.u32())]


def take(ioctx: Any, name: str, lock: str, owner: str, ttl_s: int) -> None:
    """Take or renew it for this connection and that owner. Raises ObjectBusy or ObjectExists if somebody has it."""
    texts = pack_string(owner) + pack_string("") + pack_string(owner)  # cookie, tag, description
    ending = struct.pack("<IIB", ttl_s, 0, _RENEW)
    request = pack_struct(1, 1, pack_string(lock) + bytes([_EXCLUSIVE]) + texts + ending)
    ioctx.execute(name, "lock", "lock", request, ANSWER_MAX_BYTES)


def take_away(ioctx: Any, name: str, lock: str, locker: Locker) -> None:
    """Whoever has lost it already is none the worse."""
    who = struct.pack("<B", CLIENT) + pack_i64(locker.number)
    request = pack_struct(1, 1, pack_string(lock) + who + pack_string(locker.cookie))
    with contextlib.suppress(rados.ObjectNotFound):
        ioctx.execute(name, "lock", "break_lock", request)


def plain(address: str) -> str:
    """Without the protocol that Ceph writes before some: one address, one spelling."""
    return _PROTOCOL.sub("", address)


def _read_locker(fields: Reader) -> Locker:
    _, _, who = fields.structure()
    who.u8()
    number, cookie = who.i64(), who.string()
    _, _, about = fields.structure()
    expires_at = about.u32() + about.u32() / 1e9
    address = _read_address(about)
    return Locker(number, cookie, expires_at, address, about.string())


def _read_address(fields: Reader) -> str:
    if fields.u8() != 1:
        raise ValueError("an address in the encoding of Ceph before Kraken")
    _, _, own = fields.structure()
    own.u32()  # the protocol
    nonce, length = own.u32(), own.u32()
    if length == 0:
        return f":/{nonce}"
    family, port = own.u16(), int.from_bytes(own.raw(2), "big")
    if family == _IPV4:
        return f"{ipaddress.IPv4Address(own.raw(4))}:{port}/{nonce}"
    if family != _IPV6:
        raise ValueError(f"an address of family {family}")
    own.skip(4)  # flow information
    return f"[{ipaddress.IPv6Address(own.raw(16))}]:{port}/{nonce}"
