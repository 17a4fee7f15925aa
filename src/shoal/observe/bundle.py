"""What goes into a support bundle: pieces, each bounded in time and size, each from one place. Changes nothing.

What a piece holds is as it was found; whoever writes it down takes the secrets out first.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from shoal.clients.connections import Connections
from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError

PIECE_TIMEOUT_S = 45.0
COMMAND_TIMEOUT_S = 40.0
PIECE_BYTES = 2 << 20  # the end of a log says most
CONFIG_KEYS = ("shoal/ca.key", "mgr/cephadm/ssh_identity_key")

CEPH = {
    "status.json": ["status", "--format", "json-pretty"],
    "health.txt": ["health", "detail"],
    "osd-tree.txt": ["osd", "tree"],
    "osd-df.txt": ["osd", "df"],
    "orch-ps.txt": ["orch", "ps"],
    "orch-hosts.txt": ["orch", "host", "ls"],
    "mon-dump.txt": ["mon", "dump"],
    "config-dump.json": ["config", "dump", "--format", "json-pretty"],  # in its table no name stands beside its value
    "versions.json": ["versions"],
    "crashes.txt": ["crash", "ls"],
    "log.txt": ["log", "last", "500"],
}
_JOURNAL = "journalctl --no-pager -o short-iso -n 5000"
DOM0 = {
    "system.txt": "uname -a; uptime; free -m; df -h; xl info 2>/dev/null | head -40; true",
    "sm-plugins.txt": "grep -H sm-plugins /etc/xapi.conf /etc/xapi.conf.d/* 2>/dev/null; true",
    "keeper.log": f"{_JOURNAL} -u shoal-keeper -u shoal-relay -u shoal-map -u shoal-map-retry",
    "SMlog.txt": "grep -hE 'RBDSR|shoal' /var/log/SMlog.1 /var/log/SMlog 2>/dev/null | tail -n 8000; true",
    "kernel.txt": "dmesg | grep -iE 'rbd|libceph|xen-blkback' | tail -n 1000; true",
    "rbd.txt": "cd /sys/bus/rbd/devices && grep -H . */pool */name */size 2>/dev/null; true",
    "units.txt": "systemctl --no-pager status shoal-keeper shoal-relay shoal-map shoal-map-retry; true",
    "files.txt": "ls -lR /opt/shoal /etc/shoal; true",
}
STORAGE_VM = {
    "system.txt": "uname -a; uptime; free -m; df -h; chronyc tracking; cloud-init status; true",
    "containers.txt": "docker ps --all --no-trunc; docker images",
    "ceph.log": f"{_JOURNAL} -u 'ceph*'",
    "shoal.log": f"{_JOURNAL} -u 'shoal*'",
    "volume-service.log": "for c in $(docker ps -aq --filter name=shoal-volumes); do docker logs --tail 5000 $c; done",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of the bundle, and how it is had."""

    path: str
    read: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Had:
    """What became of a piece: `data`, or why there are none."""

    path: str
    data: bytes = b""
    missing: str = ""
    seconds: float = 0.0
    cut_bytes: int = 0  # from its beginning


def pieces(connections: Connections, hosts: Iterable[str]) -> tuple[Piece, ...]:
    """All that is asked of other machines. `hosts` by name, as the pool or the spec has them."""
    found = [Piece(f"ceph/{name}", partial(_ask_ceph, connections, argv)) for name, argv in CEPH.items()]
    for host in hosts:
        folder = f"dom0/{re.sub(r'[^A-Za-z0-9_.-]|^[.]+', '_', host)}"  # as the pool calls it: any text
        found += [Piece(f"{folder}/{name}", partial(_run, connections.dom0, host, s)) for name, s in DOM0.items()]
    for own in connections.spec.hosts if connections.spec.ceph.existing is None else ():
        reads = ((name, partial(_run, connections.storage_vm, own.name, script)) for name, script in STORAGE_VM.items())
        found += [Piece(f"storage-vm/{own.name}/{name}", read) for name, read in reads]
    return tuple(found)


async def take(piece: Piece) -> Had:
    """What goes into the bundle: of much the end."""
    had = await take_whole(piece)
    cut_bytes = max(0, len(had.data) - PIECE_BYTES)
    if cut_bytes:  # at a line's end: half a secret would not be known for one
        cut_bytes = had.data.find(b"\n", cut_bytes) + 1 or len(had.data)
    return replace(had, data=had.data[cut_bytes:], cut_bytes=cut_bytes)


async def take_whole(piece: Piece) -> Had:
    """Never raises for what could not be had: the bundle says so instead."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(PIECE_TIMEOUT_S):
            data = await piece.read()
    except TimeoutError:
        return Had(piece.path, missing=f"no answer within {PIECE_TIMEOUT_S:g} s", seconds=PIECE_TIMEOUT_S)
    except (ShoalError, OSError) as error:
        why = f"{error.brief}: {error.details}" if isinstance(error, ShoalError) else str(error)
        return Had(piece.path, missing=why.rstrip(": "), seconds=time.monotonic() - start)
    return Had(piece.path, data, seconds=time.monotonic() - start)


async def known_secrets(connections: Connections, hosts: Iterable[str]) -> tuple[set[str], list[str]]:
    """Every secret that can be had now, only to be looked for and taken out; and what could not be asked."""
    sources = {
        "the pool's secrets": partial(_pool_secrets, connections),
        "Ceph's keys": partial(_ceph_keys, connections),
        **{f"Ceph's {key}": partial(_config_key, connections, key) for key in CONFIG_KEYS},
        **{f"keys in dom0 of {host}": partial(_dom0_keys, connections, host) for host in hosts},
    }
    looks = await asyncio.gather(*(take_whole(Piece(name, read)) for name, read in sources.items()))
    secrets = {secret for look in looks if look.data for secret in json.loads(look.data)}
    return secrets, [f"{look.path}: {look.missing}" for look in looks if look.missing]


async def _run(reach: Callable[[str], Awaitable[Ssh]], host: str, script: str) -> bytes:
    done = await (await reach(host)).run(["sh", "-c", script], timeout_s=COMMAND_TIMEOUT_S, check=False)
    said = f"\n[stderr, exit code {done.code}]\n{done.stderr}" if done.stderr or done.code else ""
    return (done.stdout + said).encode()


async def _ask_ceph(connections: Connections, argv: list[str]) -> bytes:
    return (await (await connections.ceph()).text(argv)).encode()


async def _pool_secrets(connections: Connections) -> bytes:
    return json.dumps([str(one["value"]) for one in (await connections.xenapi.records("secret")).values()]).encode()


async def _ceph_keys(connections: Connections) -> bytes:
    ceph = await connections.ceph()
    listed = await ceph.command(["auth", "ls"])
    users = listed.get("auth_dump", []) if isinstance(listed, dict) else []
    return json.dumps([str(user["key"]) for user in users]).encode()


async def _config_key(connections: Connections, key: str) -> bytes:
    return json.dumps([await (await connections.ceph()).text(["config-key", "get", key])]).encode()


async def _dom0_keys(connections: Connections, host: str) -> bytes:
    dom0 = await connections.dom0(host)
    found = [await dom0.read_file(path) for path in ("/etc/shoal/volumes/client.key", "/etc/shoal/maps.key")]
    return json.dumps([data.decode(errors="replace") for data in found if data]).encode()
