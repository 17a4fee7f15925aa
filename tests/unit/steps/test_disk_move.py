"""Moving a VM's disk: wherever it is cut off, the VM's data is never at two places' mercy, and the next try ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shoal.clients.pins import Pins
from shoal.clients.xenapi import XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.plan.action import Action, Change
from shoal.steps import disk_move
from shoal.steps.tools import Tools
from tests.unit.clients.toolstack_server import Toolstack, certificate
from tests.unit.steps.disk_pool import VBD, DiskPool, connections


@pytest.fixture(scope="module")
def toolstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolstack]:
    made = Toolstack(certificate(tmp_path_factory.mktemp("certificate"))[0])
    yield made
    made.close()


@pytest.fixture
def pool(toolstack: Toolstack) -> DiskPool:
    toolstack.calls.clear()
    return DiskPool(toolstack)


@pytest.fixture
async def tools(toolstack: Toolstack, pool: DiskPool, tmp_path: Path) -> AsyncIterator[Tools]:
    xenapi = XenApi(toolstack.url, "root", Secret("pw"), pins=Pins(tmp_path / "pins.json"))
    yield Tools(connections(xenapi), lambda *_: None)
    await xenapi.close()


def action(*, delete_source: bool = False) -> Action:
    settings = {"vdi": "the-disk", "sr": "sr-shared", "delete_source": delete_source}
    return Action("disk_move", "web", Change.UPDATE, "test", settings=settings)


def check_moved(pool: DiskPool, *, deleted: bool) -> None:
    (copy,) = pool.disks(pool.shared)
    record = pool.record("VDI", copy)
    assert pool.contents[copy] == "written by the VM"
    assert (record["name_label"], record["name_description"], record["tags"]) == ("web", "its disk", ["blue"])
    assert record["other_config"] == {"owner": "somebody", "shoal:copy-of": "the-disk"}
    (vbd,) = pool.rows("VBD")
    assert {**VBD, "VM": pool.vm, "VDI": copy}.items() <= vbd.items()
    assert pool.disks(pool.local) == ([] if deleted else [pool.disk])


@pytest.mark.parametrize("delete", [False, True])
async def test_the_vm_gets_the_copy_in_the_same_place(pool: DiskPool, tools: Tools, delete: bool) -> None:
    assert await disk_move.verify(action(delete_source=delete), tools)
    await disk_move.apply(action(delete_source=delete), tools)
    check_moved(pool, deleted=delete)
    assert await disk_move.verify(action(delete_source=delete), tools) == ""
    before = pool.changes
    await disk_move.apply(action(), tools)
    check_moved(pool, deleted=delete)
    assert pool.changes == before


@pytest.mark.parametrize("done_first", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 10))
async def test_cut_off_at_any_change(pool: DiskPool, tools: Tools, number: int, done_first: bool) -> None:
    pool.crash_at, pool.done_first = number, done_first
    with pytest.raises(XenApiError, match="POWER_IS_GONE"):
        await disk_move.apply(action(delete_source=True), tools)
    if any(row["VDI"] == pool.disk for row in pool.rows("VBD")):
        pool.contents[pool.disk] = "written by the VM"  # it may run: what is copied next is what it wrote last
        for copy in pool.disks(pool.shared):
            pool.contents[copy] = pool.contents[copy] and "stale"
    await disk_move.apply(action(delete_source=True), tools)
    assert await disk_move.verify(action(delete_source=True), tools) == ""
    check_moved(pool, deleted=True)


async def test_there_are_no_more_changes_than_are_cut_off_above(pool: DiskPool, tools: Tools) -> None:
    await disk_move.apply(action(delete_source=True), tools)
    assert pool.changes == 9


async def test_a_vm_that_was_started_meanwhile_keeps_the_old_disk(pool: DiskPool, tools: Tools) -> None:
    pool.at_copy = lambda: pool.tables["VM"][pool.vm].update(power_state="Running")
    with pytest.raises(ShoalError, match="web was started while its disk was copied; it keeps the old disk"):
        await disk_move.apply(action(delete_source=True), tools)
    assert [row["VDI"] for row in pool.rows("VBD")] == [pool.disk]


async def test_the_old_disk_is_not_deleted_when_the_vm_has_not_got_the_new_one(pool: DiskPool, tools: Tools) -> None:
    await disk_move.apply(action(), tools)
    pool.tables["VBD"].clear()
    with pytest.raises(ShoalError, match="no VM has the copy"):
        await disk_move.apply(action(delete_source=True), tools)
    assert pool.disk in pool.contents


async def test_a_disk_that_lost_its_vm_before_it_was_copied(pool: DiskPool, tools: Tools) -> None:
    pool.tables["VBD"].clear()
    with pytest.raises(ShoalError, match="no VM has the disk the-disk any more, and there is no copy of it"):
        await disk_move.apply(action(delete_source=True), tools)
    assert pool.disk in pool.contents


async def test_what_a_killed_run_began_is_waited_for(pool: DiskPool, tools: Tools) -> None:
    pool.crash_at, pool.done_first = 2, True  # the copy was asked for, and nobody waits for it
    with pytest.raises(XenApiError):
        await disk_move.apply(action(), tools)
    (copy,) = pool.disks(pool.shared)
    dom0 = pool._add("VM", uuid="dom0", power_state="Running", is_control_domain=True)
    vbd = pool._add("VBD", **{**VBD, "VM": dom0, "VDI": copy})
    said: list[str] = []

    def say(_: Action, text: str) -> None:
        said.append(text)
        pool.tables["VBD"].pop(vbd, None)  # the copy ends

    await disk_move.apply(action(), Tools(tools.connections, say))
    assert said[0] == "waiting until the toolstack has ended what an earlier run began"
    check_moved(pool, deleted=False)
