"""An OSD leaves a small real Ceph: its id waits for the next disk of its host, or nothing of it is left."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import CommandFailed, Completed, Ssh, Unreachable
from shoal.observe.ceph import look_at_ceph
from shoal.plan.action import Action, Change
from shoal.steps import ceph_osd, osd_removal
from shoal.steps.tools import Tools
from tests.ceph.cluster import Cluster
from tests.ceph.test_image_step import Inside

pytestmark = pytest.mark.ceph
HOST = "shoal-storage-xen2"


@pytest.fixture
def ceph(cluster: Cluster) -> Ceph:
    copies = "cp /scratch/ceph.conf /etc/ceph/ceph.conf; cp /scratch/admin.keyring /etc/ceph/ceph.client.admin.keyring"
    cluster.run("sh", "-c", f"mkdir -p /etc/ceph; {copies}")
    return Ceph(Inside(cluster))  # type: ignore[arg-type]


class Connections:
    """A cluster that answers, and a storage VM that is away, as with a host that died; `then`, as it is looked for."""

    def __init__(self, ceph: Ceph, then: Callable[[], object] = lambda: None) -> None:
        self._ceph, self._then = ceph, then

    async def ceph(self) -> Ceph:
        return self._ceph

    async def storage_vm(self, host: str) -> Any:
        self._then()
        raise Unreachable(f"{host} has no storage VM")


class Guest(Inside):
    """A storage VM that answers."""

    async def run(self, argv: Sequence[str], **how: Any) -> Completed:
        done = await super().run(argv, **how)
        if done.code:
            raise CommandFailed(self.name, argv, done)
        return done


class Beside(Connections):
    def __init__(self, ceph: Ceph, guest: Guest) -> None:
        super().__init__(ceph)
        self._guest = guest

    async def storage_vm(self, host: str) -> Any:
        return self._guest


class Asked(Ceph):
    """Keeps what it was asked."""

    def __init__(self, ssh: Ssh) -> None:
        super().__init__(ssh)
        self.all: list[list[str]] = []

    async def text(self, argv: Sequence[str], **how: Any) -> str:
        self.all.append([*argv])
        return await super().text(argv, **how)


def tools(ceph: Ceph, then: Callable[[], object] = lambda: None) -> Tools:
    return Tools(Connections(ceph, then), lambda *_: None, defaultdict(asyncio.Lock))  # type: ignore[arg-type]


def removal(osd: int, own: str, *, keep_id: bool, drain: bool) -> Action:
    settings = {"osd": osd, "uuid": own, "name": HOST, "keep_id": keep_id, "drain": drain}
    settings |= {"together": (osd,), "has_daemon": True}
    return Action("osd_removal", "xen2:1", Change.UPDATE, "test", "xen2", settings=settings)


async def test_an_id_waits_for_the_next_disk_of_its_host(ceph: Ceph, cluster: Cluster) -> None:
    own, other = str(uuid.uuid4()), str(uuid.uuid4())
    osd = int(cluster.ceph("osd", "new", own))
    cluster.ceph("osd", "crush", "add", f"osd.{osd}", "0", f"host={HOST}", "root=default")
    try:
        wanted = removal(osd, own, keep_id=True, drain=False)
        assert await osd_removal.verify(wanted, tools(ceph)) == f"osd.{osd} is still in the cluster"
        for _ in range(2):
            await osd_removal.apply(wanted, tools(ceph))
            assert await osd_removal.verify(wanted, tools(ceph)) == ""
        seen = await look_at_ceph(ceph, "", {})
        assert seen is not None
        assert [(one.host, one.destroyed) for one in seen.osds if one.id == osd] == [(HOST, True)]
        assert [one.size_bytes > one.used_bytes > 0 for one in seen.osds if one.id == 0] == [True]

        making = Action("ceph_osd", "xen2:1", Change.CREATE, "test", "xen2", settings={"name": HOST})
        run = tools(ceph)
        assert [await ceph_osd.left_id(making, run, ceph) for _ in range(2)] == [str(osd), ""]
        assert int(cluster.ceph("osd", "new", other, str(osd))) == osd
        # The old one's removal, repeated, does not touch the new one.
        await osd_removal.apply(wanted, tools(ceph))
        assert await osd_removal.verify(removal(osd, other, keep_id=False, drain=True), tools(ceph)) != ""
    finally:
        cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")


async def test_a_daemon_that_is_gone_already_is_no_hindrance(ceph: Ceph, cluster: Cluster) -> None:
    """With the real cephadm: a disk's replacement is given up behind its first step, and then the host leaves."""
    own = str(uuid.uuid4())
    osd = int(cluster.ceph("osd", "new", own))
    folder = f"/var/lib/ceph/{cluster.ceph('fsid').strip()}/osd.{osd}"
    cluster.run("mkdir", "-p", folder)
    run = Tools(Beside(ceph, Guest(cluster)), lambda *_: None, defaultdict(asyncio.Lock))  # type: ignore[arg-type]
    try:
        await osd_removal.apply(removal(osd, own, keep_id=True, drain=False), run)
        assert cluster.run("sh", "-c", f"ls {folder} || echo gone").strip() == "gone"
        found = (await ceph.command(["osd", "dump"]))["osds"]  # type: ignore[index]
        (left,) = [one["uuid"] for one in found if one["osd"] == osd]
        await osd_removal.apply(removal(osd, left, keep_id=False, drain=True), run)
        assert str(osd) not in cluster.ceph("osd", "ls").split()
    finally:
        cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")


async def test_an_osd_with_data_is_waited_for(ceph: Ceph, cluster: Cluster) -> None:
    """The only OSD of this cluster can never be emptied: it is out, asked about again and again, and lives."""
    own = next(osd["uuid"] for osd in (await ceph.command(["osd", "dump"]))["osds"] if osd["osd"] == 0)  # type: ignore[index]
    cluster.rbd("create", "--size", "16M", "kept")  # without data it would be empty at once
    said: asyncio.Queue[str] = asyncio.Queue()
    run = Tools(Connections(ceph), lambda _, text: said.put_nowait(text))  # type: ignore[arg-type]
    working = asyncio.create_task(osd_removal.apply(removal(0, own, keep_id=False, drain=True), run))
    try:
        async with asyncio.timeout(60):
            for _ in range(2):
                assert (await said.get()).startswith("waiting for osd.0 to be empty: ")
        with pytest.raises(CephRefused) as refused:  # without a flag Ceph looks itself
            await ceph.text(["osd", "purge", "0"])
        assert refused.value.code in osd_removal.NOT_YET
    finally:
        working.cancel()
        cluster.ceph("osd", "in", "0")
        cluster.rbd("rm", "kept")
    assert await osd_removal.verify(removal(0, own, keep_id=False, drain=True), tools(ceph)) != ""


async def test_the_data_are_looked_at_again_when_the_osd_has_stopped(ceph: Ceph, cluster: Cluster) -> None:
    """Data that cannot be reached any more by then may lie on it: it is given up when they can."""
    own = str(uuid.uuid4())
    osd = int(cluster.ceph("osd", "new", own))
    said: asyncio.Queue[str] = asyncio.Queue()
    is_lost = asyncio.Event()

    def lose() -> None:
        lose_data(cluster)
        is_lost.set()

    connections = Connections(ceph, lose)
    run = Tools(connections, lambda _, text: said.put_nowait(text))  # type: ignore[arg-type]
    wanted = removal(osd, own, keep_id=False, drain=False)
    working = asyncio.create_task(osd_removal.apply(wanted, run))
    try:
        async with asyncio.timeout(60):
            await is_lost.wait()  # another test's new pool may be waited for before
            while not said.empty():
                said.get_nowait()
            while "waiting for" not in (seen := await said.get()):
                assert not working.done()
        assert seen == "waiting for all data to be reachable without the OSD: unknown"
        assert await osd_removal.verify(wanted, run) == f"osd.{osd} is still in the cluster"
        find_data(cluster)
        async with asyncio.timeout(60):
            await working
        assert await osd_removal.verify(wanted, run) == ""
    finally:
        working.cancel()
        find_data(cluster)
        cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")


async def test_another_osd_with_the_same_id_is_left_alone(ceph: Ceph, cluster: Cluster) -> None:
    own, other = str(uuid.uuid4()), str(uuid.uuid4())
    osd = int(cluster.ceph("osd", "new", own))

    def make_anew() -> None:
        cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")
        assert int(cluster.ceph("osd", "new", other)) == osd

    try:
        await osd_removal.apply(removal(osd, own, keep_id=False, drain=True), tools(ceph, make_anew))
        assert await osd_removal.verify(removal(osd, other, keep_id=False, drain=True), tools(ceph)) != ""
    finally:
        cluster.ceph("osd", "purge", str(osd), "--force", "--yes-i-really-mean-it")


async def test_an_id_that_waits_is_purged_when_its_host_leaves(ceph: Ceph, cluster: Cluster) -> None:
    osd = int(cluster.ceph("osd", "new", str(uuid.uuid4())))
    cluster.ceph("osd", "destroy", str(osd), "--force", "--yes-i-really-mean-it")
    own = next(one["uuid"] for one in (await ceph.command(["osd", "dump"]))["osds"] if one["osd"] == osd)  # type: ignore[index]
    wanted, asked = removal(osd, own, keep_id=False, drain=True), Asked(ceph.ssh)
    await osd_removal.apply(wanted, tools(asked))
    assert [argv for argv in asked.all if "purge" in argv] == [["osd", "purge", str(osd)]]  # any flag is force
    assert str(osd) not in cluster.ceph("osd", "ls").split()


async def test_all_that_leave_are_out_before_the_first_is_waited_for(ceph: Ceph, cluster: Cluster) -> None:
    """And of a dead host no daemon is looked for."""
    own = str(uuid.uuid4())
    osd, beside = int(cluster.ceph("osd", "new", own)), int(cluster.ceph("osd", "new", str(uuid.uuid4())))
    looked_for: list[bool] = []
    wanted = removal(osd, own, keep_id=False, drain=True)
    wanted = replace(wanted, settings={**wanted.settings, "together": (osd, beside), "has_daemon": False})
    try:
        cluster.ceph("osd", "in", str(osd), str(beside))
        await osd_removal.apply(wanted, tools(ceph, lambda: looked_for.append(True)))
        found = await ceph.command(["osd", "dump"])
        assert {one["osd"]: one["in"] for one in found["osds"] if one["osd"] in (osd, beside)} == {beside: 0}  # type: ignore[index]
        assert looked_for == []
    finally:
        for one in (osd, beside):
            cluster.ceph("osd", "purge", str(one), "--force", "--yes-i-really-mean-it")


def lose_data(cluster: Cluster) -> None:
    """A pool whose placement group no OSD can have."""
    cluster.ceph("osd", "crush", "add-bucket", "nowhere", "root")
    cluster.ceph("osd", "crush", "rule", "create-replicated", "nowhere", "nowhere", "host")
    cluster.ceph("osd", "pool", "create", "lost", "1", "1", "replicated", "nowhere")
    cluster.wait_for(lambda: "unknown" in cluster.ceph("pg", "stat"), 30, "the manager to see it")


def find_data(cluster: Cluster) -> None:
    if "lost" in cluster.ceph("osd", "pool", "ls").split():
        cluster.ceph("osd", "pool", "rm", "lost", "lost", "--yes-i-really-really-mean-it")
        cluster.ceph("osd", "crush", "rule", "rm", "nowhere")
        cluster.ceph("osd", "crush", "rm", "nowhere")
