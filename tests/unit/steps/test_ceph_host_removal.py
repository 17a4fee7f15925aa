"""A dead host leaves Ceph, against an orchestrator that purges what it remembers there, as cephadm's does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from shoal.clients.ceph import CephRefused
from shoal.clients.ssh import Completed
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps import ceph_host_removal, orchestrator

GONE, REST = "shoal-storage-xen4", ("shoal-storage-xen1", "shoal-storage-xen2", "shoal-storage-xen3")
SETTINGS = {"name": GONE, "mons": REST, "mgrs": REST[:2], "others": REST, "image": "ceph:18.2.7", "admin": ""}
ACTION = Action("ceph_host_removal", "xen4", Change.UPDATE, "", "xen4", settings={**SETTINGS, "is_dead": True})
FAILED = "Module 'cephadm' has failed: 'Dumper' object has no attribute 'represented_objects'"


class Cluster:
    """Is both the tools and the Ceph that they give. `remembered`: OSDs that the orchestrator still has on the host."""

    def __init__(self, *, osds: tuple[int, ...], remembered: tuple[int, ...]) -> None:
        self.osds, self.remembered = [*osds], remembered
        self.hosts, self.locks = [GONE, *REST], defaultdict[str, asyncio.Lock](asyncio.Lock)
        self.kept, self.has_failed = dict[str, object](), False

    async def ceph(self) -> Any:
        return self

    def progress(self, _action: Action, _text: str) -> None:
        pass

    async def text(self, argv: Sequence[str], **_more: object) -> str:
        if [*argv] == ["orch", "host", "rm", GONE, "--offline", "--force"]:
            self.osds = [osd for osd in self.osds if osd not in self.remembered]
            self.hosts.remove(GONE)
        if [*argv] == ["mgr", "fail"]:
            self.has_failed = False
        if argv[0] == "orch" and self.has_failed:
            raise CephRefused(argv, Completed("", FAILED, 95))
        return ""

    async def command(self, argv: Sequence[str]) -> object:
        return {
            "quorum_status": {"quorum_names": REST, "monmap": {"mons": [{"name": name} for name in REST]}},
            "mgr dump": {"active_name": f"{REST[0]}.abc", "standbys": [{"name": f"{REST[1]}.def"}]},
            "orch host ls": [{"hostname": name} for name in self.hosts],
            "osd ls": self.osds,
            "health detail": {
                "checks": {"MGR_MODULE_ERROR": {"detail": [{"message": FAILED}]}} if self.has_failed else {}
            },
            f"orch ps {GONE}": [
                {"daemon_type": "crash", "daemon_id": GONE},
                *({"daemon_type": "osd", "daemon_id": str(osd)} for osd in self.remembered),
            ],
        }[" ".join(argv)]


async def carry_out(cluster: Any) -> str:
    async with asyncio.timeout(10):
        await ceph_host_removal.apply(ACTION, cluster)
        return await ceph_host_removal.verify(ACTION, cluster)


async def test_what_the_orchestrator_remembers_of_purged_osds_is_no_hindrance() -> None:
    cluster = Cluster(osds=(0, 1, 2), remembered=(3,))
    assert await carry_out(cluster) == ""
    assert cluster.hosts == [*REST] and cluster.osds == [0, 1, 2]


async def test_an_id_that_another_hosts_osd_has_by_now_is_not_purged() -> None:
    cluster = Cluster(osds=(0, 1, 2, 3), remembered=(3, 4))
    with pytest.raises(ShoalError, match=r"the orchestrator takes osd\.3 for shoal-storage-xen4's") as caught:
        await carry_out(cluster)
    assert "Leave the host" in caught.value.resolution
    assert cluster.osds == [0, 1, 2, 3] and GONE in cluster.hosts


async def test_an_orchestrator_that_has_failed_is_not_waited_for_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orchestrator, "LOOK_EVERY", 1)
    cluster = Cluster(osds=(0, 1, 2), remembered=())
    cluster.has_failed = True
    assert await carry_out(cluster) == ""
    assert cluster.hosts == [*REST]
