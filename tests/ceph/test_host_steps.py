"""A host's leave of Ceph: what a small real Ceph answers Shoal's own steps, and does at their word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action, Change
from shoal.steps import ceph_clean, osd_noout
from shoal.steps.ceph_leave import what_keeps_it
from tests.ceph.cluster import Cluster
from tests.ceph.test_image_step import Inside

pytestmark = pytest.mark.ceph
HOST = "shoal-storage-xen2"


@pytest.fixture
def tools(cluster: Cluster) -> Iterator[Any]:
    """The little Ceph's one OSD lies on the storage VM of xen2."""
    copies = "cp /scratch/ceph.conf /etc/ceph/ceph.conf; cp /scratch/admin.keyring /etc/ceph/ceph.client.admin.keyring"
    cluster.run("sh", "-c", f"mkdir -p /etc/ceph; {copies}")
    ceph = Ceph(Inside(cluster))  # type: ignore[arg-type]

    async def give(**_: object) -> Ceph:
        return ceph

    tree = json.loads(cluster.ceph("osd", "tree", "-f", "json"))
    (name,) = [node["name"] for node in tree["nodes"] if node["type"] == "host" and 0 in node["children"]]
    cluster.ceph("osd", "crush", "rename-bucket", name, HOST)
    connections = SimpleNamespace(ceph=give, spec=SimpleNamespace(hosts=[]))
    yield SimpleNamespace(ceph=give, connections=connections, progress=lambda action, text: None)
    cluster.ceph("osd", "crush", "rename-bucket", HOST, name)


async def test_noout_is_set_for_one_host_and_taken_back(tools: Any, cluster: Cluster) -> None:
    places = {"records": ("rbd/", "rbd/none", "gone/")}
    on = Action("osd_noout", "xen2", Change.UPDATE, "", "xen2", settings={"noout": True, **places})
    off = Action("osd_noout", "xen2", Change.UPDATE, "", "xen2", settings={"noout": False})
    assert await osd_noout.verify(on, tools) == "noout is not set for it"
    for action, other in ((on, off), (off, on)):
        for _ in range(2):
            await osd_noout.apply(action, tools)
            assert await osd_noout.verify(action, tools) == ""
        assert await osd_noout.verify(other, tools) != ""
    assert "noout" not in json.loads(cluster.ceph("osd", "dump", "-f", "json"))["flags_set"]


async def test_ceph_says_what_it_cannot_spare(tools: Any, cluster: Cluster) -> None:
    cluster.wait_for(lambda: _is_clean(cluster), 60, "clean placement groups")
    action = Action("ceph_clean", "xen2", Change.UPDATE, "", "xen2", settings={"wait_s": 30})
    await ceph_clean.apply(action, tools)
    assert (await what_keeps_it(tools, "xen2")).startswith("osd ok-to-stop: ")  # the only copy is there
    assert await what_keeps_it(tools, "xen3") == ""  # nothing is


async def test_a_noout_that_the_hosts_keeper_has_set_gets_no_end(tools: Any, cluster: Cluster) -> None:
    rados = ("rados", "-c", "/scratch/ceph.conf", "-k", "/scratch/admin.keyring", "-p", "rbd")
    for machine in (HOST, "shoal-storage-xen3"):
        cluster.run(*rados, "setomapval", "shoal.noout", machine, "1")
    settings = {"noout": True, "records": ("gone/", "rbd/")}
    await osd_noout.apply(Action("osd_noout", "xen2", Change.UPDATE, "", "xen2", settings=settings), tools)
    assert cluster.run(*rados, "listomapkeys", "shoal.noout").split() == ["shoal-storage-xen3"]
    cluster.run(*rados, "rm", "shoal.noout")
    cluster.ceph("osd", "unset-group", "noout", HOST)


def _is_clean(cluster: Cluster) -> bool:
    pgs = json.loads(cluster.ceph("status", "-f", "json"))["pgmap"]
    return all("active+clean" in state["state_name"] for state in pgs["pgs_by_state"]) and pgs["num_pgs"] > 0
