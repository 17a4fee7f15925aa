"""What Shoal hands to somebody else's cluster, run on a real, small Ceph; and how far the users' rights go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shoal.observe
from shoal.observe.ceph import read_ceph
from shoal.spec.load import parse
from shoal.spec.sources import Surroundings
from shoal.steps.volume_service_pack import write_commands
from tests.ceph.cluster import Cluster
from tests.ceph.fixtures import cluster

__all__ = ["cluster"]
SPEC = Path(__file__).parents[1] / "cases" / "existing.yaml"
PROBE = Path(shoal.observe.__file__).with_name("ceph_probe.py")
pytestmark = pytest.mark.ceph


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    spec = parse(SPEC.read_text(), SPEC, Surroundings(environ={"SHOAL_POOL_PASSWORD": "x"})).spec
    for _ in range(2):  # what the script promises: it may be run again
        arguments = "CEPH_ARGS=-c /scratch/ceph.conf --keyring /scratch/admin.keyring"
        cluster.run("env", arguments, "sh", "-es", stdin=write_commands(spec), timeout_s=180)
    for user in ("shoal-xen", "shoal-xen-volumes"):
        cluster.ceph("auth", "get", f"client.{user}", "-o", f"/scratch/{user}.keyring")
    return cluster


def rbd(cluster: Cluster, user: str, *words: str) -> str:
    return cluster.run("rbd", "-c", "/scratch/ceph.conf", "--id", user, "-k", f"/scratch/{user}.keyring", *words)


def test_the_users_work_in_their_namespace_and_keep_data_in_the_data_pool(prepared: Cluster) -> None:
    place = ("--pool", "rbd", "--namespace", "xen")
    rbd(prepared, "shoal-xen-volumes", "create", *place, "--data-pool", "bulk", "--size", "64M", "vdi-1")
    made = json.loads(rbd(prepared, "shoal-xen", "info", *place, "--format", "json", "vdi-1"))
    assert made["data_pool"] == "bulk"
    rbd(prepared, "shoal-xen-volumes", "bench", *place, "--io-type", "write", "--io-total", "1M", "vdi-1")
    objects = prepared.run(
        *("rados", "-c", "/scratch/ceph.conf", "-k", "/scratch/admin.keyring", "-p", "bulk", "-N", "xen", "ls")
    )
    assert f"rbd_data.{prepared_pool_id(prepared)}." in objects
    rbd(prepared, "shoal-xen-volumes", "rm", "--no-progress", *place, "vdi-1")


def prepared_pool_id(cluster: Cluster) -> int:
    pools = json.loads(cluster.ceph("osd", "pool", "ls", "detail", "-f", "json"))
    return next(int(pool["pool_id"]) for pool in pools if pool["pool_name"] == "rbd")


@pytest.mark.parametrize(
    "place",
    [("--pool", "rbd"), ("--pool", "rbd", "--namespace", "tenant-2"), ("--pool", "other"), ("--pool", "bulk")],
    ids=["the pool itself", "another namespace", "another pool", "the data pool itself"],
)
def test_the_users_reach_nothing_else(prepared: Cluster, place: tuple[str, ...]) -> None:
    if "tenant-2" in place and "tenant-2" not in prepared.rbd("namespace", "ls", "rbd"):
        prepared.rbd("namespace", "create", "--pool", "rbd", "--namespace", "tenant-2")
    for user in ("shoal-xen", "shoal-xen-volumes"):
        with pytest.raises(RuntimeError, match="Operation not permitted"):
            rbd(prepared, user, "create", *place, "--size", "64M", "vdi-2")


def test_the_look_sees_namespaces(prepared: Cluster) -> None:
    arguments = ("/scratch/ceph.conf", "/scratch/admin.keyring")
    ceph = read_ceph(json.loads(prepared.run("python3", "-", *arguments, stdin=PROBE.read_text())), "", {})
    assert ceph is not None
    pools = {pool.name: pool for pool in ceph.pools}
    assert "xen" in (pools["rbd"].namespaces or ())
    assert (pools["bulk"].namespaces, pools["bulk"].is_initialized) == ((), True)
    assert not pools["other"].is_initialized
