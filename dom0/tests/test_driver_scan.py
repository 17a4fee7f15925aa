"""What a scan costs: one read of either side, a write for each difference, little memory. And one connection a call."""

from __future__ import annotations

import fcntl
import time
import xmlrpc.client
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dom0.tests.host import Host
from dom0.tests.paper_pool import GIB, PaperPool, snapshot_of
from tests.ceph.certificates import Authority

MEMORY_MAX_MIB = 64
MakePool = Callable[..., PaperPool]


@pytest.fixture
def make_pool(host: Host, authority: Authority, tmp_path: Path) -> Iterator[MakePool]:
    made: list[PaperPool] = []

    def make(disks: int, snapshots: int = 0) -> PaperPool:
        made.append(PaperPool(tmp_path, authority, disks, snapshots))
        made[-1].owner = host.sr
        host.device_config["volumes"] = made[-1].endpoint
        return made[-1]

    yield make
    for pool in made:
        pool.stop()


@pytest.fixture
def host(lone_host: Host, client_files: Path) -> Host:
    (lone_host.folder / "volumes").symlink_to(client_files)
    return lone_host


def test_a_scan_with_nothing_new_writes_nothing(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(20, 5)
    pool.record_all(host)
    host.call("sr_scan")  # the SR's figures are new
    host.toolstack.calls.clear()
    host.call("sr_scan")
    assert host.toolstack.calls == ["VDI.get_all_records_where", "SR.get_record"]
    assert host.toolstack.sr["virtual_allocation"] == str(25 * GIB)


def test_a_scan_writes_what_differs_and_no_more(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(20, 5)
    pool.record_all(host)
    host.call("sr_scan")
    host.toolstack.calls.clear()
    gone, grown, tracked = (pool.listing["volumes"][number] for number in (0, 1, 2))
    pool.listing["volumes"].remove(gone)
    grown["size_bytes"] = 2 * GIB
    tracked["metadata"]["cbt"] = "true"
    pool.listing["snapshots"].append(snapshot_of(grown["id"], 99))
    host.call("sr_scan")
    assert sorted(host.toolstack.calls) == sorted(
        ["VDI.get_all_records_where", "VDI.db_introduce", "VDI.db_forget", "VDI.set_virtual_size"]
        + ["VDI.set_cbt_enabled", "SR.get_record", "SR.set_virtual_allocation"]
    )


def test_a_snapshot_is_tied_to_its_disk_again(host: Host, make_pool: MakePool) -> None:
    """The disk's record was lost and made anew, so its old reference leads nowhere."""
    pool = make_pool(1, 1)
    pool.record_all(host)
    (disk,), (snapshot,) = pool.listing["volumes"], pool.listing["snapshots"]
    del host.toolstack.vdis[host.toolstack.ref(disk["id"])]
    host.call("sr_scan")
    assert host.toolstack.vdis[host.toolstack.ref(snapshot["id"])]["snapshot_of"] == host.toolstack.ref(disk["id"])


def test_nothing_is_forgotten_while_something_is_broken(host: Host, make_pool: MakePool) -> None:
    """Of an image that cannot be read it is not known which snapshots it holds."""
    pool = make_pool(2, 2)
    pool.record_all(host)
    pool.listing["broken"].append({"id": pool.listing["volumes"].pop()["id"], "error": "its header cannot be read"})
    pool.listing["snapshots"].pop()
    with pytest.raises(xmlrpc.client.Fault, match="its header cannot be read") as caught:
        host.call("sr_scan")
    assert caught.value.faultCode == 40
    assert len(host.toolstack.vdis) == 4


def test_a_broken_image_that_nobody_knows_hinders_nobody(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(2)
    pool.listing["broken"].append({"id": pool.listing["volumes"].pop()["id"], "error": "its header cannot be read"})
    host.call("sr_scan")
    assert len(host.toolstack.vdis) == 1


@pytest.mark.parametrize("owner", [None, "11111111-1111-1111-1111-111111111111"])
def test_the_list_of_another_pool_is_not_believed(host: Host, make_pool: MakePool, owner: str | None) -> None:
    """One that has got the name of the SR's, or a service that asks another Ceph."""
    pool = make_pool(2)
    pool.record_all(host)
    pool.owner = owner
    pool.listing["volumes"].pop()
    with pytest.raises(xmlrpc.client.Fault, match="belongs to") as caught:
        host.call("sr_scan")
    assert caught.value.faultCode == 47
    assert len(host.toolstack.vdis) == 2


@pytest.mark.parametrize("owned", [True, False])
def test_a_probe_tells_the_pools_sr_as_xml(host: Host, make_pool: MakePool, owned: bool) -> None:
    pool = make_pool(1)
    if not owned:
        pool.owner = None
    root = ElementTree.fromstring(host.call("sr_probe"))
    assert root.tag == "SRlist"
    told = [{member.tag: member.text for member in sr} for sr in root.findall("SR")]
    assert told == ([{"UUID": host.sr, "Size": str(100 * GIB)}] if owned else [])


def test_a_scan_that_cannot_ask_keeps_nobody_waiting(host: Host) -> None:
    """It does not take the SR's lock: with Ceph away, changes of disks would wait for it, and name nobody."""
    with (host.folder / f"shoal-sr-{host.sr}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = time.monotonic()
        with pytest.raises(xmlrpc.client.Fault, match="127.0.0.1:1 .*127.0.0.1:6789") as caught:
            host.call("sr_scan")
    assert caught.value.faultCode == 47
    assert time.monotonic() - started < 10


def test_an_empty_list_drops_not_all_records(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(2, 1)
    pool.record_all(host)
    pool.listing.update(volumes=[], snapshots=[])
    with pytest.raises(xmlrpc.client.Fault, match="knows 3 disks and snapshots") as caught:
        host.call("sr_scan")
    assert caught.value.faultCode == 40
    assert len(host.toolstack.vdis) == 3


def test_an_image_of_a_strange_name_is_left_alone(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(1, 1)
    pool.listing["volumes"].append({"id": "../x", "size_bytes": GIB, "metadata": {}})
    pool.listing["snapshots"].append({**pool.listing["snapshots"][0], "location": "a b@c"})
    host.call("sr_scan")
    assert len(host.toolstack.vdis) == 2


@pytest.mark.parametrize("closes", [False, True])
def test_a_call_opens_one_connection(host: Host, make_pool: MakePool, closes: bool) -> None:
    """A server that closes it after an answer is asked again over a new one."""
    pool = make_pool(1)
    pool.closes_each = closes
    host.call("sr_scan")
    assert len(pool.requests) == 3
    assert pool.connections == (3 if closes else 1)


def test_ten_thousand_disks_fit_in_memory(host: Host, make_pool: MakePool) -> None:
    pool = make_pool(8000, 2000)
    pool.record_all(host)
    assert host.peak_mib("sr_scan") < MEMORY_MAX_MIB
    assert host.toolstack.sr["virtual_allocation"] == str(10_000 * GIB)


def test_names_as_long_as_they_may_be_stop_no_scan(host: Host, make_pool: MakePool) -> None:
    """Each character takes twelve bytes of JSON, so that the names of all would be more than a list may hold."""
    pool = make_pool(300, 100)
    long = {name: "\U0001f4be" * 2000 for name in ("name_label", "name_description")}
    for entry in pool.listing["volumes"] + pool.listing["snapshots"]:
        entry["metadata"].update(long)
    pool.record_all(host)
    lost = (pool.listing["volumes"][0]["id"], pool.listing["snapshots"][0]["id"])
    for uuid in lost:
        del host.toolstack.vdis[host.toolstack.ref(uuid)]
    assert host.peak_mib("sr_scan") < MEMORY_MAX_MIB
    assert len(host.toolstack.vdis) == 400
    for uuid in lost:
        assert host.toolstack.vdis[host.toolstack.ref(uuid)].items() >= long.items()
