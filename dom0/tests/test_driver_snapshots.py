"""Snapshots, clones, revert and reset at boot through the driver, with a real volume service and a real Ceph."""

from __future__ import annotations

import re
import uuid
import xmlrpc.client

import pytest

from dom0.tests.contents import listing, read, write
from dom0.tests.host import Host
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30
KEPT = "location name_label name_description type is_a_snapshot snapshot_time cbt_enabled virtual_size".split()


def fault(code: int) -> object:
    return pytest.raises(xmlrpc.client.Fault, check=lambda error: error.faultCode == code)


def test_a_snapshot_keeps_what_the_disk_held(host: Host, service: Service) -> None:
    disk = host.create(name="disk")
    write(service, disk, "a")
    snapshot = host.snapshot(disk)
    write(service, disk, "b")
    assert read(service, host.location(snapshot)) == "a"
    assert read(service, disk) == "b"


def test_a_snapshots_record(host: Host, service: Service) -> None:
    disk = host.create(2 * GIB, "my disk")
    snapshot = host.snapshot(disk)
    record = host.toolstack.vdis[host.toolstack.ref(snapshot)]
    assert record["is_a_snapshot"] is True
    assert record["snapshot_of"] == host.toolstack.ref(disk)
    assert re.fullmatch(r"[0-9A-Za-z]+@" + snapshot, record["location"])
    assert (record["virtual_size"], record["type"], record["read_only"]) == (str(2 * GIB), "user", False)
    assert host.toolstack.sr["virtual_allocation"] == str(4 * GIB)
    status, found = service.ask("GET", f"pools/rbd/snapshots/{record['location']}")
    assert (status, found["of"], found["metadata"]["name_label"]) == (200, disk, "my disk")
    assert found["metadata"]["snapshot_time"] == record["snapshot_time"]


def test_a_snapshot_whose_record_fails_leaves_nothing(host: Host, service: Service) -> None:
    disk = host.create()
    host.toolstack.failing.add("VDI.db_introduce")
    with fault(202):
        host.snapshot(disk)
    with fault(202):
        host.clone(disk)
    assert listing(service) == ({disk}, set())


def test_the_tree_comes_back_on_another_pool(host: Host, service: Service) -> None:
    disk = host.create(name="tree")
    snapshots = [host.snapshot(disk) for _ in range(3)]
    host.set_cbt(disk, enabled=True)
    tracked = host.snapshot(disk)
    host.destroy_data(tracked)
    clone = host.clone(snapshots[0])
    lone = host.snapshot(clone)
    host.call("vdi_delete", clone)
    before = {record["uuid"]: dict(record) for record in host.toolstack.vdis.values()}
    host.toolstack.vdis.clear()  # what sr_forget leaves
    host.call("sr_scan")
    after = {record["uuid"]: record for record in host.toolstack.vdis.values()}
    assert set(after) == {disk, *snapshots, tracked, lone}
    for each, record in after.items():
        assert {name: record[name] for name in KEPT} == {name: before[each][name] for name in KEPT}
    assert {after[each]["snapshot_of"] for each in (*snapshots, tracked)} == {host.toolstack.ref(disk)}
    assert after[lone]["snapshot_of"] == "OpaqueRef:NULL"  # its disk is gone
    assert after[tracked]["type"] == "cbt_metadata"
    host.toolstack.calls.clear()
    host.call("sr_scan")
    assert not {"VDI.db_introduce", "VDI.db_forget", "VDI.set_snapshot_of"} & set(host.toolstack.calls)


def test_a_snapshot_is_introduced_by_its_location(host: Host) -> None:
    disk = host.create()
    snapshot = host.snapshot(disk)
    location = host.location(snapshot)
    del host.toolstack.vdis[host.toolstack.ref(snapshot)]
    for _ in range(2):
        answer = host.call("vdi_introduce", vdi_location=location, new_uuid=snapshot, vdi_sm_config={})
        assert answer == {"uuid": snapshot, "location": location}
    record = host.toolstack.vdis[host.toolstack.ref(snapshot)]
    assert (record["is_a_snapshot"], record["snapshot_of"]) == (True, host.toolstack.ref(disk))
    with fault(144):
        missing = str(uuid.uuid4())
        host.call("vdi_introduce", vdi_location=f"1a2b@{missing}", new_uuid=missing, vdi_sm_config={})


def test_a_snapshots_new_name_is_kept(host: Host, service: Service) -> None:
    snapshot = host.snapshot(host.create())
    host.toolstack.vdis[host.toolstack.ref(snapshot)]["name_label"] = "before the update"
    for _ in range(2):
        host.call("vdi_update", snapshot)
    _, found = service.ask("GET", f"pools/rbd/snapshots/{host.location(snapshot)}")
    assert found["metadata"]["name_label"] == "before the update"


@pytest.mark.parametrize("of_snapshot", [False, True])
def test_a_clone_goes_its_own_way(host: Host, service: Service, of_snapshot: bool) -> None:
    disk = host.create(name="original")
    write(service, disk, "a")
    source = host.snapshot(disk) if of_snapshot else disk
    clone = host.clone(source)
    write(service, clone, "b")
    assert read(service, disk) == "a"
    assert read(service, clone) == "b"
    record = host.toolstack.vdis[host.toolstack.ref(clone)]
    assert (record["location"], record["is_a_snapshot"], record["snapshot_of"]) == (clone, False, "OpaqueRef:NULL")
    assert (record["name_label"], record["virtual_size"]) == ("original", str(GIB))
    host.call("sr_scan")
    assert host.toolstack.ref(clone)


@pytest.mark.parametrize("order", ["disk first", "snapshot first", "clone first"])
def test_deletes_in_any_order(host: Host, service: Service, order: str) -> None:
    disk = host.create()
    write(service, disk, "a")
    snapshot = host.snapshot(disk)
    clone = host.clone(snapshot)
    every = {"disk first": [disk, snapshot, clone], "snapshot first": [snapshot, disk, clone]}
    for vdi in every.get(order, [clone, disk, snapshot]):
        location, ref = host.location(vdi), host.toolstack.ref(vdi)
        for _ in range(2):
            host.call("vdi_delete", vdi, vdi_location=location, vdi_ref=ref)
        if clone in listing(service)[0]:
            assert read(service, clone) == "a"
    assert host.toolstack.vdis == {}
    assert host.toolstack.sr["virtual_allocation"] == "0"
    assert listing(service) == (set(), set())
    host.call("sr_delete")


def test_a_revert_brings_contents_and_size_back(host: Host, service: Service) -> None:
    disk = host.create(name="travels in time")
    write(service, disk, "a")
    snapshot = host.snapshot(disk)
    write(service, disk, "b")
    host.call("vdi_resize", disk, args=(str(2 * GIB),))
    later = host.snapshot(disk)
    ref = host.toolstack.ref(disk)
    for _ in range(2):
        assert host.call("vdi_revert", snapshot, args=(ref,)) is None
    assert read(service, disk) == "a"
    assert host.toolstack.vdis[ref]["virtual_size"] == str(GIB)
    assert host.toolstack.sr["virtual_allocation"] == str(GIB + GIB + 2 * GIB)
    assert read(service, host.location(later)) == "b"
    host.call("vdi_revert", later, args=(ref,))
    assert read(service, disk) == "b"
    assert host.toolstack.vdis[ref]["virtual_size"] == str(2 * GIB)
    host.call("sr_scan")
    record = host.toolstack.vdis[ref]
    assert (record["uuid"], record["name_label"]) == (disk, "travels in time")
    assert host.toolstack.vdis[host.toolstack.ref(snapshot)]["snapshot_of"] == ref


def test_a_revert_of_a_stranger_is_refused(host: Host) -> None:
    disk = host.create()
    snapshot = host.snapshot(disk)
    with fault(144):
        host.call("vdi_revert", snapshot, args=(host.toolstack.ref(snapshot),))
    host.toolstack.vdis["OpaqueRef:elsewhere"] = {**host.toolstack.vdis[host.toolstack.ref(disk)], "SR": "OpaqueRef:x"}
    with fault(144):
        host.call("vdi_revert", snapshot, args=("OpaqueRef:elsewhere",))
    with fault(202):
        host.call("vdi_revert", snapshot, args=("OpaqueRef:nothing",))


def test_a_disk_is_reset_at_boot(host: Host, service: Service) -> None:
    disk = host.create()
    write(service, disk, "a")
    for _ in range(2):
        host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")  # the first start makes the point
    for letter in "bc":
        write(service, disk, letter)
        host.call("vdi_epoch_end", disk, vdi_on_boot="reset")
        assert read(service, disk) == letter
        host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
        assert read(service, disk) == "a"
    host.call("sr_scan")
    assert len(host.toolstack.vdis) == 1


@pytest.mark.parametrize("how", ["a start", "set_on_boot"])
def test_a_reset_point_of_an_earlier_time_is_forgotten(host: Host, service: Service, how: str) -> None:
    """Set to reset, then to persist, then to reset again: what was kept in between must not be lost."""
    disk = host.create()
    write(service, disk, "a")
    host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
    write(service, disk, "b")
    if how == "a start":
        host.call("vdi_epoch_begin", disk, vdi_on_boot="persist")
    else:  # xapi clones the disk and removes the clone when on_boot becomes reset
        clone = host.call("vdi_clone", disk, driver_params={})["uuid"]
        host.call("vdi_delete", clone)
    host.call("vdi_epoch_begin", disk, vdi_on_boot="reset")
    assert read(service, disk) == "b"


def test_a_disk_that_persists_keeps_what_was_written(host: Host, service: Service) -> None:
    disk = host.create()
    for letter in "ab":
        host.call("vdi_epoch_begin", disk, vdi_on_boot="persist")
        write(service, disk, letter)
    host.call("vdi_epoch_begin", disk, vdi_on_boot="persist")
    assert read(service, disk) == "b"


def test_a_chain_that_is_too_long_is_left_to_a_copy(host: Host, service: Service) -> None:
    """Each clone is of the one before, faster than the service can shorten the chain: 38, and xapi copies."""
    disk = host.create()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        for _ in range(20):
            disk = host.clone(disk)
    assert caught.value.faultCode == 38
    assert disk in listing(service)[0]


def test_data_in_a_pool_of_its_own(host: Host, service: Service) -> None:
    host.device_config["data_pool"] = "other"
    disk = host.create()
    write(service, disk, "a")
    clone = host.clone(host.snapshot(disk))
    assert read(service, clone) == "a"
    for each in (disk, clone):
        assert '"data_pool":"other"' in service.cluster.rbd("info", f"rbd/vdi-{each}", "--format", "json")
    host.call("sr_update")
    _, figures = service.ask("GET", "pools/other")
    # Ceph counts on meanwhile.
    assert int(host.toolstack.sr["physical_size"]) == pytest.approx(figures["total_bytes"], rel=0.1)
