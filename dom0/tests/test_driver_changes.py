"""Changed blocks and growing under load through the driver, with a real volume service and a real Ceph."""

from __future__ import annotations

import base64
import uuid
import xmlrpc.client

import pytest

from dom0.tests.contents import held, read, write
from dom0.tests.host import Host
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
MIB = 1 << 20
BLOCK = 1 << 16


def fault(code: int) -> object:
    return pytest.raises(xmlrpc.client.Fault, check=lambda error: error.faultCode == code)


def changed(host: Host, older: str, newer: str) -> set[int]:
    """Numbers of the blocks that differ. The first bit of a byte is its highest."""
    answer = host.call("vdi_list_changed_blocks", older, args=(host.toolstack.ref(newer),))
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(answer, validate=True))
    return {number for number, bit in enumerate(bits) if bit == "1"}


@pytest.fixture
def tracked(host: Host) -> str:
    disk = host.create(16 * MIB)
    host.set_cbt(disk, enabled=True)
    host.call("vdi_enable_cbt", disk)
    return disk


def test_what_was_written_between_two_snapshots(host: Host, service: Service, tracked: str) -> None:
    write(service, tracked, "a", length=16 * MIB)
    first = host.snapshot(tracked)
    for block in (0, 3, 65, 255):
        write(service, tracked, "b", block * BLOCK + 8192)
    second = host.snapshot(tracked)
    write(service, tracked, "c", 100 * BLOCK)
    assert changed(host, first, second) == {0, 3, 65, 255}
    assert changed(host, first, tracked) == {0, 3, 65, 255, 100}
    assert changed(host, second, tracked) == {100}


def test_what_was_written_where_nothing_was_before(host: Host, service: Service, tracked: str) -> None:
    """More than that may be told, up to the whole object of 64 blocks, never less."""
    first = host.snapshot(tracked)
    write(service, tracked, "b", 70 * BLOCK)
    assert {70} <= changed(host, first, tracked) <= set(range(64, 128))


def test_a_disk_that_grew_in_between(host: Host, service: Service, tracked: str) -> None:
    first = host.snapshot(tracked)
    host.call("vdi_resize", tracked, args=(str(32 * MIB),))
    write(service, tracked, "b", 300 * BLOCK)
    second = host.snapshot(tracked)
    assert changed(host, first, second) >= {300}


def test_a_snapshot_without_data_is_still_a_base(host: Host, service: Service, tracked: str) -> None:
    first = host.snapshot(tracked)
    write(service, tracked, "b", 7 * BLOCK)
    second = host.snapshot(tracked)
    for _ in range(2):
        host.destroy_data(first)
    assert {7} <= changed(host, first, second) <= set(range(64))
    with fault(66):
        host.clone(first)
    with fault(66):
        host.call("vdi_revert", first, args=(host.toolstack.ref(tracked),))
    host.call("sr_scan")
    assert host.toolstack.vdis[host.toolstack.ref(first)]["type"] == "cbt_metadata"
    host.call("vdi_delete", first)


def test_no_answer_without_tracking(host: Host) -> None:
    disk = host.create()
    first, second = host.snapshot(disk), host.snapshot(disk)
    with fault(460):
        changed(host, first, second)


def test_no_answer_for_strangers(host: Host, service: Service, tracked: str) -> None:
    other = host.create(16 * MIB)
    host.set_cbt(other, enabled=True)
    first, second, stranger = host.snapshot(tracked), host.snapshot(tracked), host.snapshot(other)
    for older, newer in ((first, stranger), (first, other), (first, first), (tracked, first), (second, first)):
        with fault(460):
            changed(host, older, newer)


def test_tracking_on_and_off(host: Host, service: Service, tracked: str) -> None:
    snapshot = host.snapshot(tracked)
    host.set_cbt(tracked, enabled=False)
    host.call("vdi_disable_cbt", tracked)
    host.call("sr_scan")
    records = host.toolstack.vdis
    assert records[host.toolstack.ref(tracked)]["cbt_enabled"] is False
    assert records[host.toolstack.ref(snapshot)]["cbt_enabled"] is True
    with fault(144):
        host.call("vdi_enable_cbt", str(uuid.uuid4()))


def test_a_scan_brings_tracking_in_line(host: Host, tracked: str) -> None:
    """The call that switched it on was made, and xapi died before it noted that."""
    host.toolstack.vdis[host.toolstack.ref(tracked)]["cbt_enabled"] = False
    host.call("sr_scan")
    assert host.toolstack.vdis[host.toolstack.ref(tracked)]["cbt_enabled"] is True


def test_snapshot_clone_and_growth_of_a_disk_that_is_held(host: Host, service: Service, tracked: str) -> None:
    """The holder keeps the lock, as a host with a running VM does."""
    write(service, tracked, "a")
    with held(service, tracked):
        snapshot, clone = host.snapshot(tracked), host.clone(tracked)
        host.call("vdi_resize", tracked, args=(str(32 * MIB),))
        with fault(24):
            host.call("vdi_revert", snapshot, args=(host.toolstack.ref(tracked),))
        with fault(24):
            host.call("vdi_epoch_begin", tracked, vdi_on_boot="reset")
    assert read(service, host.location(snapshot)) == "a"
    assert read(service, clone) == "a"
    assert host.toolstack.vdis[host.toolstack.ref(tracked)]["virtual_size"] == str(32 * MIB)
