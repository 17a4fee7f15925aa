"""Disks in a data pool that is erasure coded, as whoever keeps an existing cluster may have made it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.spec.load import parse
from shoal.spec.sources import Surroundings
from shoal.steps.volume_service_pack import write_commands
from tests.ceph import coded_pool
from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from tests.ceph.test_rights import SPEC

pytestmark = [pytest.mark.ceph, pytest.mark.long]
POOL, STIFF = "coded", "coded-stiff"


@pytest.fixture(scope="module")
def coded(cluster: Cluster) -> Iterator[Cluster]:
    osds = coded_pool.add_osds(cluster)
    coded_pool.make(cluster, POOL)
    coded_pool.make(cluster, STIFF, overwrites=False)
    yield cluster
    for pool in (POOL, STIFF):
        cluster.ceph("osd", "pool", "rm", pool, pool, "--yes-i-really-really-mean-it")
    for osd in osds:
        coded_pool.remove_osd(cluster, osd)


@pytest.fixture(scope="module")
def service(coded: Cluster, authority: Authority, client_files: Path) -> Iterator[Service]:
    """The volume service with the rights that whoever keeps the cluster has given it by the script."""
    text = SPEC.read_text().replace("data_pool: bulk", f"data_pool: {POOL}")
    spec = parse(text, SPEC, Surroundings(environ={"SHOAL_POOL_PASSWORD": "x"})).spec
    arguments = "CEPH_ARGS=-c /scratch/ceph.conf --keyring /scratch/admin.keyring"
    coded.run("env", arguments, "sh", "-es", stdin=write_commands(spec), timeout_s=180)
    coded.ceph("auth", "get", "client.shoal-xen-volumes", "-o", "/scratch/shoal-xen-volumes.keyring")
    running = Service(coded, client_files, authority)
    running._write_files()
    file = running.inside / "config.json"
    user = {"user": "shoal-xen-volumes", "keyring": "/scratch/shoal-xen-volumes.keyring"}
    file.write_text(json.dumps(json.loads(file.read_text()) | user))
    running.start()
    yield running
    running.kill()


def test_disks_live_in_an_erasure_coded_pool(coded: Cluster, service: Service, inside: Inside) -> None:
    def ask(method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = service.ask(method, f"pools/rbd{path}?namespace=xen", body)
        assert status == 200, f"{method} {path}: {answer}"
        return answer

    def do(what: str, image: str, **more: Any) -> Any:
        return inside.do(what, namespace="xen", image=f"vdi-{image}", **more)

    volume, clone, snapshot = (str(uuid.uuid4()) for _ in range(3))
    ask("PUT", f"/volumes/{volume}", {"size_bytes": 64 << 20, "metadata": {}, "data_pool": POOL})
    do("write", volume, blocks={"0": "a", "1": "a"})
    place = ask("POST", f"/volumes/{volume}/snapshot", {"snapshot": snapshot, "metadata": {}})["location"]
    ask("PUT", f"/volumes/{clone}", {"source": place, "metadata": {}})
    do("write", volume, blocks={"1": "b"})
    do("write", clone, blocks={"0": "c"})
    assert do("read", volume, blocks=[0, 1]) == {"0": "a", "1": "b"}
    assert do("read", clone, blocks=[0, 1]) == {"0": "c", "1": "a"}
    assert ask("POST", "/changes", {"from": place, "to": volume})["bitmap"].startswith("QA")  # the second block
    ask("POST", f"/volumes/{volume}/revert", {"snapshot": place})
    assert do("read", volume, blocks=[0, 1]) == {"0": "a", "1": "a"}
    made = json.loads(coded.rbd("info", "--pool", "rbd", "--namespace", "xen", f"vdi-{clone}", "--format", "json"))
    assert made["data_pool"] == POOL
    for gone in (f"/volumes/{volume}", f"/snapshots/{place}", f"/volumes/{clone}"):
        ask("DELETE", gone)
    service.sweep(namespace="xen")


def test_one_that_takes_no_overwrites_is_refused(coded: Cluster, service: Service) -> None:
    everywhere = (word for kind in ("mon", "osd", "mgr") for word in (kind, "profile rbd"))
    coded.ceph("auth", "caps", "client.shoal-xen-volumes", *everywhere)
    service.kill()
    service.start()  # rights are asked for once
    body = {"size_bytes": 64 << 20, "metadata": {}, "data_pool": STIFF}
    status, answer = service.ask("PUT", f"pools/rbd/volumes/{uuid.uuid4()}?namespace=xen", body)
    assert status == 400 and "is allow_ec_overwrites set?" in str(answer), answer
