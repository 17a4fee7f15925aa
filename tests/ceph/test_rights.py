"""What Shoal hands to somebody else's cluster, run on a real, small Ceph; and how far the users' rights go."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal.observe
from shoal.observe.ceph import read_ceph
from shoal.spec.load import parse
from shoal.spec.sources import Surroundings
from shoal.steps.volume_service_pack import write_commands
from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.service import Service

SPEC = Path(__file__).parents[1] / "cases" / "existing.yaml"
PROBE = Path(shoal.observe.__file__).with_name("ceph_probe.py")
pytestmark = pytest.mark.ceph


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Cluster:
    spec = parse(SPEC.read_text(), SPEC, Surroundings(environ={"SHOAL_POOL_PASSWORD": "x"})).spec
    arguments = "CEPH_ARGS=-c /scratch/ceph.conf --keyring /scratch/admin.keyring"
    known = []
    for _ in range(2):  # what the script promises: it may be run again
        cluster.run("env", arguments, "sh", "-es", stdin=write_commands(spec), timeout_s=180)
        known.append(cluster.ceph("auth", "get", "client.shoal-xen"))
        if len(known) == 1:
            cluster.ceph("auth", "caps", "client.shoal-xen", "mon", "allow r")  # as from a spec with other SRs
    assert known[0] == known[1]
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


@pytest.fixture
def service(prepared: Cluster, authority: Authority, client_files: Path) -> Iterator[Service]:
    """The volume service with no more rights than the script gives it."""
    running = Service(prepared, client_files, authority)
    running._write_files()
    file = running.inside / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"user": "shoal-xen-volumes", "keyring": "/scratch/shoal-xen-volumes.keyring"}))
    running.start()
    yield running
    running.kill()


def test_the_volume_service_needs_no_more_rights(service: Service) -> None:
    def ask(method: str, path: str, body: object = None, *, namespace: str = "xen") -> tuple[int, dict[str, Any]]:
        return service.ask(method, f"pools/rbd{path}?namespace={namespace}", body)

    sr, volume = str(uuid.uuid4()), str(uuid.uuid4())
    assert ask("GET", "")[0] == 200
    assert ask("PUT", "/owner", {"sr": sr})[0] == 200
    status, answer = ask("PUT", f"/volumes/{volume}", {"size_bytes": 64 << 20, "metadata": {"name_label": "web"}})
    assert status == 200, answer
    assert ask("PATCH", f"/volumes/{volume}/metadata", {"name_label": "db"})[1]["metadata"] == {"name_label": "db"}
    assert ask("POST", f"/volumes/{volume}/resize", {"size_bytes": 128 << 20})[0] == 200
    assert ask("GET", f"/volumes/{volume}/holders")[0] == 200
    listed = ask("GET", "/volumes")[1]["volumes"]
    assert [found["id"] for found in listed] == [volume]
    assert ask("DELETE", f"/volumes/{volume}")[1]["removed"]
    assert ask("DELETE", "/owner", {"sr": sr})[0] == 200
    status, answer = ask("PUT", f"/volumes/{volume}", {"size_bytes": 64 << 20, "metadata": {}}, namespace="tenant-3")
    assert status != 200, answer


def test_nor_for_snapshots_clones_and_data_elsewhere(service: Service) -> None:
    def ask(method: str, path: str, body: object = None, *, pool: str = "rbd") -> dict[str, object]:
        status, answer = service.ask(method, f"pools/{pool}{path}?namespace=xen", body)
        assert status == 200, f"{method} {path}: {answer}"
        return answer

    volume, clone, snapshot = (str(uuid.uuid4()) for _ in range(3))
    ask("PUT", f"/volumes/{volume}", {"size_bytes": 64 << 20, "metadata": {}, "data_pool": "bulk"})
    place = ask("POST", f"/volumes/{volume}/snapshot", {"snapshot": snapshot, "metadata": {}})["location"]
    ask("PUT", f"/volumes/{clone}", {"source": place, "metadata": {}})
    ask("POST", f"/volumes/{volume}/revert", {"snapshot": place})
    ask("POST", f"/volumes/{volume}/resize", {"size_bytes": 128 << 20})
    ask("PUT", f"/volumes/{volume}/reset_point")
    ask("POST", f"/volumes/{volume}/reset")
    ask("POST", "/changes", {"from": None, "to": place})
    ask("GET", f"/usage/{volume}")
    ask("GET", "", pool="bulk")
    for gone in (f"/volumes/{volume}", f"/snapshots/{place}", f"/volumes/{clone}"):
        ask("DELETE", gone)
    assert (ask("GET", "/volumes")["volumes"], ask("GET", "/volumes")["snapshots"]) == ([], [])
