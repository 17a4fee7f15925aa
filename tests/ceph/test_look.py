"""The look at Ceph on a real, small Ceph: what librados answers is what the reader understands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shoal.observe
from shoal.observe.ceph import read_ceph
from tests.ceph.cluster import Cluster

PROBE = Path(shoal.observe.__file__).with_name("ceph_probe.py")
pytestmark = pytest.mark.ceph


def look(cluster: Cluster, *images: str) -> str:
    arguments = ("/scratch/ceph.conf", "/scratch/admin.keyring", *images)
    return cluster.run("python3", "-", *arguments, stdin=PROBE.read_text())


def test_a_real_cluster_is_understood(cluster: Cluster) -> None:
    cluster.ceph("config-key", "set", "shoal/ca.pem", "a certificate")
    cluster.ceph("config", "set", "client", "rgw_keystone_admin_password", "s3cret")
    cluster.ceph("config", "set", "osd", "osd_heartbeat_grace", "11")
    said = look(cluster)
    assert "s3cret" not in said
    assert cluster.ceph("auth", "print-key", "client.admin").strip() not in said
    answer = json.loads(said)
    ceph = read_ceph(answer, "", {})
    assert ceph is not None
    assert ceph.fsid == cluster.fsid
    assert [(mon.name, mon.in_quorum) for mon in ceph.mons] == [("a", True)]
    assert f"{ceph.mons[0].address}:{ceph.mons[0].v1_port}" == cluster.v1_address
    assert [mgr.name for mgr in ceph.mgrs if mgr.active] == ["x"]
    assert [(osd.id, osd.up, osd.in_cluster) for osd in ceph.osds] == [(0, True, True)]
    assert {(pool.name, pool.size, pool.applications) for pool in ceph.pools} >= {("rbd", 1, ("rbd",))}
    assert "profile rbd" in ceph.users["client.shoal-volumes"]["mon"]
    assert ceph.settings["osd/osd_heartbeat_grace"] == "11"
    assert ceph.total_bytes > ceph.available_bytes > 0
    assert len(ceph.certificate_authority) == 64
    # This little Ceph has no orchestrator, and that is said.
    assert "orch host ls" in ceph.unreachable


def test_images_are_looked_at_and_those_that_are_not_there_are_missing(cluster: Cluster) -> None:
    rbd = ("rbd", "-c", "/scratch/ceph.conf", "-k", "/scratch/admin.keyring")
    for name, features in (("lvm-a", "layering"), ("lvm-b", "layering,exclusive-lock")):
        cluster.run(*rbd, "create", f"rbd/{name}", "--size", "64M", "--image-feature", features)
    try:
        answer = json.loads(look(cluster, "rbd/lvm-a", "rbd/lvm-b", "rbd/lvm-none", "nowhere/lvm-a"))
    finally:
        for name in ("lvm-a", "lvm-b"):
            cluster.run(*rbd, "rm", "--no-progress", f"rbd/{name}")
    assert [key for key in answer["errors"] if key.startswith("image")] == []
    assert answer["images"] == {
        "rbd/lvm-a": {"size_bytes": 64 << 20, "features": ["layering"]},
        "rbd/lvm-b": {"size_bytes": 64 << 20, "features": ["exclusive-lock", "layering"]},
    }


def test_a_silent_monitor_is_said_in_time(cluster: Cluster) -> None:
    cluster.kill_daemon("mon")
    try:
        ceph = read_ceph(json.loads(look(cluster)), cluster.fsid, {})
    finally:
        cluster.restart_daemon("mon")
    assert ceph is not None
    assert ceph.fsid == cluster.fsid
    assert ceph.unreachable
    assert not ceph.osds
