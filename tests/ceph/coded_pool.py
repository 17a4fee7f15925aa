"""An erasure coded pool in the little Ceph: two data chunks and one of parity, on two OSDs of its own.

They lie in a part of the CRUSH map that no other pool sees. Two chunks of three are there: enough to write.
"""

from __future__ import annotations

import json
import uuid

from tests.ceph.cluster import Cluster

ROOT = "coded"


def add_osds(cluster: Cluster) -> list[int]:
    osds = [_add_osd(cluster) for _ in range(2)]
    profile = ("k=2", "m=1", f"crush-root={ROOT}", "crush-failure-domain=osd")
    cluster.ceph("osd", "erasure-code-profile", "set", ROOT, *profile)
    return osds


def make(cluster: Cluster, pool: str, *, overwrites: bool = True) -> None:
    cluster.ceph("osd", "pool", "create", pool, "8", "8", "erasure", ROOT)
    cluster.ceph("osd", "pool", "set", pool, "min_size", "2")
    if overwrites:
        cluster.ceph("osd", "pool", "set", pool, "allow_ec_overwrites", "true")


def remove_osd(cluster: Cluster, osd: int) -> None:
    cluster.kill_daemon(f"osd.{osd}")
    cluster.ceph("osd", "down", str(osd))
    cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")


def _add_osd(cluster: Cluster) -> int:
    own = str(uuid.uuid4())
    osd = int(cluster.ceph("osd", "new", own))
    folder, name = f"/scratch/osd-{osd}", f"osd.{osd}"
    cluster.make_key(name, folder, "mon", "allow profile osd", "osd", "allow *", "mgr", "allow profile osd")
    program = ("ceph-osd", "-i", str(osd), "--osd-data", folder)
    cluster.run(*program, "--mkfs", "--osd-uuid", own, "-c", "/scratch/ceph.conf", timeout_s=120)
    cluster.ceph("osd", "crush", "add", name, "1", f"root={ROOT}", f"host={ROOT}-{osd}")
    cluster.start_daemon(name, *program, "--osd-crush-update-on-start=false")
    cluster.wait_for(lambda: osd in _up(cluster), 60, name)
    return osd


def _up(cluster: Cluster) -> set[int]:
    return {osd["osd"] for osd in json.loads(cluster.ceph("osd", "dump", "-f", "json"))["osds"] if osd["up"]}
