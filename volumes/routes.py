"""The API: which request does what. Checks what comes in, so that nothing else has to.

All paths begin with /v1; `?namespace=` goes with every path of a pool. It must not know of sockets or TLS.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from dataclasses import dataclass
from typing import Any, Callable, Optional

from volumes import (
    VERSION,
    changes,
    clones,
    fences,
    holders,
    images,
    listing,
    locks,
    members,
    noout,
    owner,
    revert,
    snapshots,
)
from volumes.bounded import Kind, Workers
from volumes.ceph import Ceph
from volumes.errors import ServiceError, bad_request
from volumes.pool import Pool
from volumes.purge import Purger

# Short calls, which the start of a VM is made of, must not wait for one that reads a whole pool or disk. A reset mostly
# is short, but at the greatest depth it goes over the whole disk.
SHORT = Kind("short", 8, timeout_s=12.0)
RESET = Kind("reset", 4, timeout_s=12.0)
LIST = Kind("list", 4, timeout_s=30.0)
KEEPERS = Kind("keepers", 8, timeout_s=30.0)
COMPARISON = Kind("comparison", 4, timeout_s=30.0, queue_s=15.0, late_code=changes.TOO_LONG)
KINDS = (SHORT, RESET, LIST, KEEPERS, COMPARISON)
SIZE_MAX_BYTES = 2**63 - 1
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
POOL = re.compile(r"[A-Za-z0-9_.-]{1,128}")
LOCATION = re.compile(rf"([0-9a-zA-Z]{{1,64}})@({UUID.pattern})")
METADATA_KEY = re.compile(r"[a-z][a-z0-9_]{0,40}")
METADATA_VALUE_MAX = 8192
TTL_MAX_S = 3600
ADDRESSES_MAX = 256
CLIENT_ADDRESS = re.compile(r"([0-9.]{7,15}|\[[0-9a-fA-F:]{2,45}\]):[0-9]{1,5}/[0-9]{1,10}")


Work = Callable[[Pool], "dict[str, Any]"]


@dataclass(frozen=True)
class Request:
    method: str
    path: tuple[str, ...]
    namespace: str
    short: bool
    body: dict[str, Any]


def parse(method: str, target: str, body: bytes) -> Request:
    """A request from its line and body; whatever is odd about it is a bad request."""
    parts = urllib.parse.urlsplit(target)
    query = urllib.parse.parse_qs(parts.query, strict_parsing=False, max_num_fields=8)
    namespace = query.get("namespace", [""])[0]
    if namespace and not POOL.fullmatch(namespace):
        raise bad_request("namespace: letters, digits, '.', '_' and '-' only")
    try:
        value = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise bad_request("the body is not JSON") from None
    if not isinstance(value, dict):
        raise bad_request("the body is not a JSON object")
    path = tuple(urllib.parse.unquote(part) for part in parts.path.strip("/").split("/"))
    return Request(method, path, namespace, query.get("short") == ["true"], value)


class Routes:
    def __init__(self, ceph: Ceph, workers: Workers, purger: Purger) -> None:
        self._ceph = ceph
        self._workers = workers
        self._purger = purger

    def answer(self, request: Request) -> dict[str, Any]:
        method, path = request.method, request.path
        if path == ("v1", "status") and method == "GET":
            return self._workers.run(self._status, SHORT, "status")
        if path == ("v1", "members") and method == "GET":
            return self._workers.run(lambda: members.read(self._ceph), SHORT, "members")
        if path[:2] == ("v1", "pools") and len(path) >= 3:
            if not POOL.fullmatch(path[2]):
                raise bad_request("pool: letters, digits, '.', '_' and '-' only")
            work, kind = self._pool_work(request, path[3:])
            return self._in_pool(request, work, kind)
        raise ServiceError(404, "no_such_path", f"no {method} {'/'.join(path)}")

    def _in_pool(self, request: Request, work: Work, kind: Kind) -> dict[str, Any]:
        name, doing = request.path[2], f"{request.method} {'/'.join(request.path)}"
        changed: set[str] = set()

        def run(ioctx: Any) -> dict[str, Any]:
            return work(Pool(ioctx, self._ceph, changed.add))

        try:
            return self._workers.run(lambda: self._ceph.with_pool(name, request.namespace, run, doing), kind, doing)
        finally:
            self._purger.notice(name, request.namespace, set(changed))

    def _pool_work(self, request: Request, rest: tuple[str, ...]) -> tuple[Work, Kind]:
        """What to do with the pool, and with which threads."""
        method, body = request.method, request.body
        if rest == () and method == "GET":
            name = request.path[2]
            return lambda pool: self._pool_stats(name, pool), SHORT
        if rest == ("volumes",) and method == "GET":
            return lambda pool: listing.read_all(pool, LIST.timeout_s, short=request.short), LIST
        if rest == ("owner",):
            return _owner_work(method, body), LIST
        if rest[:1] in (("holders",), ("locks",), ("fences",), ("noout",)):
            return self._failover_work((method, *rest), body), KEEPERS
        if rest[:1] == ("volumes",) and len(rest) in (2, 3):
            volume_id = _uuid(rest[1], "volume id")
            return _volume_work((method, *rest[2:]), volume_id, body), RESET if rest[2:] == ("reset",) else SHORT
        if rest[:1] == ("snapshots",) and len(rest) in (2, 3):
            return _snapshot_work((method, *rest[2:]), _location(rest[1]), body), SHORT
        if rest == ("changes",) and method == "POST":
            older, newer = body.get("from"), _source(body.get("to"))
            older = None if older is None else _source(older)
            return lambda pool: changes.changed(pool, older, newer), COMPARISON
        if rest[:1] == ("usage",) and len(rest) == 2 and method == "GET":
            what = _source(rest[1])
            return lambda pool: changes.used(pool, what), COMPARISON
        raise ServiceError(404, "no_such_path", f"no {method} {'/'.join(request.path)}")

    def _failover_work(self, call: tuple[str, ...], body: dict[str, Any]) -> Work:
        if call == ("GET", "holders"):
            return lambda pool: {"holders": holders.read_owners(pool, KEEPERS.timeout_s)}
        if call == ("GET", "fences"):
            return lambda _: {"addresses": fences.read(self._ceph)}
        if call == ("POST", "fences"):
            addresses = _addresses(body)
            return lambda _: fences.add(self._ceph, addresses)
        if call[1] == "locks" and len(call) == 3:
            return _lock_work(call[0], call[2], body)
        if call[1] == "noout" and len(call) == 3:
            return self._noout_work(call[0], call[2], body)
        raise ServiceError(404, "no_such_path", f"no {' '.join(call)} for a pool")

    def _noout_work(self, method: str, machine: str, body: dict[str, Any]) -> Work:
        if not POOL.fullmatch(machine):
            raise bad_request("machine: letters, digits, '.', '_' and '-' only")
        if method == "DELETE":
            return lambda pool: noout.release(pool, self._ceph, machine)
        if method != "PUT":
            raise ServiceError(405, "no_such_method", f"no {method} here")
        ttl_s = _ttl(body)
        return lambda pool: noout.hold(pool, self._ceph, machine, ttl_s)

    def _status(self) -> dict[str, Any]:
        health = self._ceph.command(prefix="health")
        mons = self._ceph.command(prefix="mon dump")["mons"]
        monitors = [address for mon in mons for address in members.v1_addresses(mon)]
        checks = [
            {"code": code, "severity": check["severity"], "message": check["summary"]["message"]}
            for code, check in sorted(health.get("checks", {}).items())
        ]
        ceph = {"fsid": self._ceph.fsid(), "monitors": monitors, "health": health["status"], "checks": checks}
        ceph["members"] = members.read(self._ceph)
        return {"service": "shoal-volumes", "version": VERSION, "ceph": ceph}

    def _pool_stats(self, name: str, pool: Pool) -> dict[str, Any]:
        """Bytes that a client can still write and has written, replicas already taken out of both.

        Both are 0 for a pool so new that Ceph has not counted it yet.
        """
        found = [entry["stats"] for entry in self._ceph.command(prefix="df")["pools"] if entry["name"] == name]
        used, available = (int(found[0]["stored"]), int(found[0]["max_avail"])) if found else (0, 0)
        return {
            "pool": name,
            "fsid": self._ceph.fsid(),
            "owner": owner.read(pool.ioctx),
            "total_bytes": used + available,
            "used_bytes": used,
        }


def _owner_work(method: str, body: dict[str, Any]) -> Work:
    if method == "GET":
        return lambda pool: {"sr": owner.read(pool.ioctx)}
    if method == "PUT":
        sr = _uuid(body.get("sr"), "sr")
        return lambda pool: owner.claim(pool, sr)
    if method == "DELETE":
        sr = _uuid(body.get("sr"), "sr")
        return lambda pool: owner.release(pool, sr)
    raise ServiceError(405, "no_such_method", f"no {method} here")


def _lock_work(method: str, name: str, body: dict[str, Any]) -> Work:
    if not POOL.fullmatch(name):
        raise bad_request("lock: letters, digits, '.', '_' and '-' only")
    if method == "GET":
        return lambda pool: locks.read(pool, name)
    lock_owner = _uuid(body.get("owner"), "owner")
    if method == "DELETE":
        return lambda pool: locks.release(pool, name, lock_owner)
    if method != "PUT":
        raise ServiceError(405, "no_such_method", f"no {method} here")
    ttl_s = _ttl(body)
    return lambda pool: locks.take(pool, name, lock_owner, ttl_s)


def _ttl(body: dict[str, Any]) -> int:
    ttl_s = body.get("ttl_s")
    if not isinstance(ttl_s, int) or isinstance(ttl_s, bool) or not 0 < ttl_s <= TTL_MAX_S:
        raise bad_request(f"ttl_s: not a whole number of seconds up to {TTL_MAX_S}")
    return ttl_s


def _addresses(body: dict[str, Any]) -> list[str]:
    values = body.get("addresses")
    if not isinstance(values, list) or not 0 < len(values) <= ADDRESSES_MAX:
        raise bad_request(f"addresses: not a list of 1 to {ADDRESSES_MAX}")
    for value in values:
        if not isinstance(value, str) or not CLIENT_ADDRESS.fullmatch(value):
            raise bad_request("addresses: not address:port/nonce of a client")
        port, _, nonce = value.rpartition(":")[2].partition("/")
        if int(port) > 65535 or not 0 < int(nonce) < 2**32:  # with 0 it is all clients of the address
            raise bad_request("addresses: not one client")
    return values


def _volume_work(call: tuple[str, ...], volume_id: str, body: dict[str, Any]) -> Work:
    if call == ("GET",):
        return lambda pool: images.stat(pool, volume_id)
    if call == ("PUT",):
        return _creation(volume_id, body)
    if call == ("DELETE",):
        return lambda pool: images.remove(pool, volume_id)
    if call == ("POST", "resize"):
        size_bytes = _size(body)
        return lambda pool: images.resize(pool, volume_id, size_bytes)
    if call == ("PATCH", "metadata"):
        metadata = _metadata(body)
        return lambda pool: images.write_metadata(pool, volume_id, metadata)
    if call == ("GET", "holders"):
        return lambda pool: images.read_holders(pool, volume_id)
    return _history_work(call, volume_id, body)


def _history_work(call: tuple[str, ...], volume_id: str, body: dict[str, Any]) -> Work:
    if call == ("POST", "snapshot"):
        snapshot_id, metadata = _uuid(body.get("snapshot"), "snapshot"), _metadata(body.get("metadata", {}))
        return lambda pool: snapshots.take(pool, volume_id, snapshot_id, metadata)
    if call == ("POST", "revert"):
        where = _location(body.get("snapshot"))
        return lambda pool: revert.revert(pool, volume_id, *where)
    if call == ("PUT", "reset_point"):
        return lambda pool: revert.make_reset_point(pool, volume_id)
    if call == ("DELETE", "reset_point"):
        return lambda pool: revert.drop_reset_point(pool, volume_id)
    if call == ("POST", "reset"):
        return lambda pool: revert.reset(pool, volume_id)
    raise ServiceError(404, "no_such_path", f"no {' '.join(call)} for a volume")


def _creation(volume_id: str, body: dict[str, Any]) -> Work:
    metadata = _metadata(body.get("metadata", {}))
    if "source" in body:
        source = _source(body["source"])
        if source == volume_id:
            raise bad_request("source: a volume cannot be a clone of itself")
        return lambda pool: clones.clone(pool, volume_id, source, metadata)
    size_bytes, data_pool = _size(body), body.get("data_pool")
    if data_pool is not None and (not isinstance(data_pool, str) or not POOL.fullmatch(data_pool)):
        raise bad_request("data_pool: letters, digits, '.', '_' and '-' only")
    return lambda pool: images.create(pool, volume_id, size_bytes, metadata, data_pool)


def _snapshot_work(call: tuple[str, ...], where: tuple[str, str], body: dict[str, Any]) -> Work:
    if call == ("GET",):
        return lambda pool: snapshots.stat(pool, *where)
    if call == ("DELETE",):
        return lambda pool: snapshots.remove(pool, *where)
    if call == ("PATCH", "metadata"):
        metadata = _metadata(body)
        return lambda pool: snapshots.write_metadata(pool, *where, metadata)
    if call == ("GET", "holders"):
        return lambda pool: snapshots.read_holders(pool, *where)
    raise ServiceError(404, "no_such_path", f"no {' '.join(call)} for a snapshot")


def _location(value: Any) -> tuple[str, str]:
    """Image id and snapshot id."""
    match = LOCATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise bad_request("snapshot: not <image id>@<uuid>")
    return match.group(1), match.group(2)


def _source(value: Any) -> str:
    """A volume's id or a snapshot's location."""
    return "@".join(_location(value)) if isinstance(value, str) and "@" in value else _uuid(value, "volume or snapshot")


def _uuid(value: Any, what: str) -> str:
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise bad_request(f"{what}: not a uuid in lower case")
    return value


def _size(body: dict[str, Any]) -> int:
    value = body.get("size_bytes")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= SIZE_MAX_BYTES:
        raise bad_request("size_bytes: not a whole number of bytes above 0")
    return value


def _metadata(values: Any) -> dict[str, Optional[str]]:
    if not isinstance(values, dict) or len(values) > 32:
        raise bad_request("metadata: not an object of at most 32 strings")
    for key, value in values.items():
        if not METADATA_KEY.fullmatch(key):
            raise bad_request(f"metadata: bad key {key[:50]!r}")
        if value is not None and (
            not isinstance(value, str) or len(value.encode(errors="replace")) > METADATA_VALUE_MAX
        ):
            raise bad_request(f"metadata: {key}: not a string of at most {METADATA_VALUE_MAX} bytes")
    return values
