"""An SR's and a disk's life through the driver, with a real volume service and a real Ceph."""

from __future__ import annotations

import errno
import uuid
import xmlrpc.client

import pytest

from dom0.tests.contents import held
from dom0.tests.host import KEY, Host
from dom0.tests.test_monitors import listener
from tests.ceph.cluster import Cluster
from tests.ceph.service import Service

pytestmark = pytest.mark.ceph
GIB = 1 << 30


def fault(code: int) -> object:
    return pytest.raises(xmlrpc.client.Fault, check=lambda error: error.faultCode == code)


def test_an_sr_is_created_attached_and_deleted(host: Host, service: Service) -> None:
    host.call("sr_create", args=("0",))
    host.call("sr_create", args=("0",))
    host.call("sr_attach")
    assert host.sr in host.call("sr_probe")
    disk = host.create()
    with fault(39):
        host.call("sr_delete")
    host.call("vdi_delete", disk)
    host.call("sr_detach")
    host.call("sr_delete")
    host.call("sr_delete")
    with fault(47):
        host.call("sr_attach")
    assert service.ask("GET", "pools/rbd/owner")[1] == {"sr": None}


def test_disks_without_an_owner_mark_are_neither_left_behind_nor_adopted(host: Host, service: Service) -> None:
    host.create()
    service.guest.do("remove_object", object="shoal.owner")
    with fault(39):
        host.call("sr_delete")
    host.sr = str(uuid.uuid4())
    with pytest.raises(xmlrpc.client.Fault, match="no mark of the SR.*put shoal.owner -.*remove them with rbd") as refused:
        host.call("sr_create", args=("0",))
    assert refused.value.faultCode == 39


def test_a_pool_of_another_sr_is_refused(host: Host) -> None:
    mine, host.sr = host.sr, str(uuid.uuid4())
    with fault(42):
        host.call("sr_create", args=("0",))
    with fault(47):
        host.call("sr_attach")
    host.sr = mine


def test_another_cluster_is_refused(host: Host) -> None:
    host.device_config["fsid"] = str(uuid.uuid4())
    with fault(202):
        host.call("sr_attach")


def test_a_pool_that_is_not_there_is_said(host: Host) -> None:
    host.device_config["pool"] = "nowhere"
    with pytest.raises(xmlrpc.client.Fault, match="pool nowhere") as caught:
        host.call("sr_attach")
    assert caught.value.faultCode == 47


def test_a_disk_is_made_found_again_and_removed(host: Host, service: Service) -> None:
    disk = host.create(GIB + 1, "my <disk> & “more”")
    record = host.toolstack.vdis[host.toolstack.ref(disk)]
    assert record["virtual_size"] == str(GIB + (1 << 20))  # whole MiB
    assert host.toolstack.sr["virtual_allocation"] == str(GIB + (1 << 20))
    status, volume = service.ask("GET", f"pools/rbd/volumes/{disk}")
    assert (status, volume["metadata"]["name_label"]) == (200, "my <disk> & “more”")
    host.call("vdi_delete", disk)
    host.call("vdi_delete", disk)
    assert host.toolstack.vdis == {}
    assert service.ask("GET", f"pools/rbd/volumes/{disk}")[0] == 404


def test_a_create_whose_record_fails_leaves_nothing(host: Host, service: Service) -> None:
    host.toolstack.failing.add("VDI.db_introduce")
    with fault(202):
        host.create()
    assert service.ask("GET", "pools/rbd/volumes")[1]["volumes"] == []


def test_a_scan_brings_records_in_line(host: Host, service: Service) -> None:
    kept, lost, grown = host.create(name="kept"), host.create(name="lost"), host.create(name="grown")
    service.ask("DELETE", f"pools/rbd/volumes/{lost}")
    service.ask("POST", f"pools/rbd/volumes/{grown}/resize", {"size_bytes": 2 * GIB})
    found = str(uuid.uuid4())
    service.ask("PUT", f"pools/rbd/volumes/{found}", {"size_bytes": GIB, "metadata": {"name_label": "found"}})
    host.call("sr_scan")
    records = {record["uuid"]: record for record in host.toolstack.vdis.values()}
    assert set(records) == {kept, grown, found}
    assert records[found]["name_label"] == "found"
    assert records[grown]["virtual_size"] == str(2 * GIB)
    assert host.toolstack.sr["virtual_allocation"] == str(4 * GIB)
    assert int(host.toolstack.sr["physical_size"]) > 0


def test_a_scan_that_cannot_read_a_disk_fails_and_forgets_none(host: Host, service: Service) -> None:
    disk, other = host.create(), host.create()
    service.ask("DELETE", f"pools/rbd/volumes/{other}")
    image_id = service.cluster.rbd("info", f"rbd/vdi-{disk}", "--format", "json").split('"id":"')[1].split('"')[0]
    rados = ("rados", "-c", "/scratch/ceph.conf", "--keyring", "/scratch/admin.keyring", "-p", "rbd")
    header = f"rbd_header.{image_id}"
    service.cluster.run(*rados, "setomapval", header, "size", "garbage")
    try:
        with fault(40):
            host.call("sr_scan")
        assert len(host.toolstack.vdis) == 2
    finally:
        (service.cluster.files / "size").write_bytes(GIB.to_bytes(8, "little"))
        service.cluster.run(*rados, "setomapval", header, "size", "--input-file", "/scratch/size")


def test_everything_comes_back_on_another_pool(host: Host) -> None:
    disk = host.create(name="travels")
    ref = host.toolstack.ref(disk)
    host.toolstack.vdis[ref]["name_label"] = "renamed"
    host.call("vdi_update", disk)
    host.toolstack.vdis.clear()  # what sr_forget leaves
    host.call("sr_scan")
    (record,) = host.toolstack.vdis.values()
    assert (record["uuid"], record["name_label"], record["name_description"]) == (disk, "renamed", "made by a test")


def test_introduce(host: Host) -> None:
    disk = host.create()
    host.toolstack.vdis.clear()
    assert host.call("vdi_introduce", vdi_location=disk, new_uuid=disk, vdi_sm_config={})["uuid"] == disk
    assert host.call("vdi_introduce", vdi_location=disk, new_uuid=disk, vdi_sm_config={})["uuid"] == disk
    with fault(1):
        host.call("vdi_introduce", vdi_location=disk, new_uuid=str(uuid.uuid4()), vdi_sm_config={})
    missing = str(uuid.uuid4())
    with fault(144):
        host.call("vdi_introduce", vdi_location=missing, new_uuid=missing, vdi_sm_config={})


def test_resize_grows_and_never_shrinks(host: Host) -> None:
    disk = host.create()
    assert host.call("vdi_resize", disk, args=(str(3 * GIB),)) == {"uuid": disk, "location": disk}
    host.call("vdi_resize", disk, args=(str(3 * GIB),))
    assert host.toolstack.vdis[host.toolstack.ref(disk)]["virtual_size"] == str(3 * GIB)
    assert host.toolstack.sr["virtual_allocation"] == str(3 * GIB)
    with fault(79):
        host.call("vdi_resize", disk, args=(str(GIB),))


def test_a_disk_that_is_open_cannot_be_removed_or_activated(host: Host, service: Service) -> None:
    disk = host.create()
    with held(service, disk):
        with fault(24):
            host.call("vdi_delete", disk)
        with pytest.raises(xmlrpc.client.Fault) as caught:
            host.call("vdi_activate", disk, args=("true",))
        assert caught.value.faultCode == 46
        assert "in use for writing by the host at 127.0.0.1" in caught.value.faultString
        host.call("vdi_resize", disk, args=(str(2 * GIB),))
        host.call("vdi_update", disk)  # a running VM's disk can be renamed


def test_activate_maps_once_and_detach_unmaps(host: Host) -> None:
    disk = host.create()
    link = host.folder / "links" / host.sr / disk
    attached = host.call("vdi_attach", disk, args=("true",))
    assert attached["params"] == str(link)
    assert (attached["params_nbd"], attached["o_direct"], attached["xenstore_data"]) == ("", True, {})
    assert not link.exists()
    host.call("vdi_activate", disk, args=("true",))
    assert link.resolve() == host.folder / "dev" / "rbd0"
    (line,) = host.kernel.lines
    monitors, options, pool, image, snapshot = line.split(" ")
    assert monitors == host.device_config["monitors"]
    assert options == f"name=shoal-xen,secret={KEY},noshare,mount_timeout=8,exclusive"
    assert (pool, image, snapshot) == ("rbd", f"vdi-{disk}", "-")
    host.call("vdi_deactivate", disk)
    host.call("vdi_deactivate", disk)
    host.call("vdi_detach", disk)
    assert host.kernel.maps() == []
    assert not link.is_symlink()


def test_the_kernel_is_told_of_this_hosts_own_monitor_alone_while_that_takes_part(host: Host, cluster: Cluster) -> None:
    """The volume service says so, and this host's is at the monitor's address."""
    own, other = cluster.v1_address, "127.0.0.2:6789"
    for configured, told in ((f"{other},{own}", own), (f"{other},127.0.0.1:6789", f"{other},127.0.0.1:6789")):
        host.device_config["monitors"] = configured
        disk = host.create()
        host.call("vdi_activate", disk, args=("true",))
        assert host.kernel.lines[-1].split(" ")[0] == told


def test_where_the_own_monitor_has_just_left_the_kernel_is_told_of_the_others(host: Host, cluster: Cluster) -> None:
    own = cluster.v1_address
    with listener() as other:
        host.device_config["monitors"] = f"{other},{own},127.0.0.2:6789"
        disk = host.create()
        host.kernel.refusal = errno.ETIMEDOUT
        with fault(46):
            host.call("vdi_activate", disk, args=("true",))
        assert [line.split(" ")[0] for line in host.kernel.lines] == [own, other]
        host.kernel.refusal = errno.EINVAL
        with fault(46):
            host.call("vdi_activate", disk, args=("true",))
        assert len(host.kernel.lines) == 3, "a refusal for another reason would only come again"


def test_unmapping_waits_for_a_device_that_is_open_a_moment_longer(host: Host) -> None:
    disk = host.create()
    host.call("vdi_activate", disk, args=("true",))
    host.kernel.busy = 3
    host.call("vdi_deactivate", disk)
    assert host.kernel.maps() == []


def test_detaching_the_sr_unmaps_what_was_forgotten(host: Host) -> None:
    disk = host.create()
    host.call("vdi_activate", disk, args=("true",))
    host.call("sr_detach")
    assert host.kernel.maps() == []


def test_detaching_the_sr_fails_while_a_disk_is_open(host: Host) -> None:
    disk = host.create()
    host.call("vdi_activate", disk, args=("true",))
    host.kernel.busy = 10**6
    with fault(16):
        host.call("sr_detach")
    assert host.kernel.maps() == [f"vdi-{disk}"]


def test_a_stale_map_is_replaced(host: Host) -> None:
    """This host was cut off and fenced: its old map is of a client that no longer owns the lock."""
    disk = host.create()
    host.kernel.add_map(f"vdi-{disk}", "client99")
    host.call("vdi_activate", disk, args=("true",))
    assert host.kernel.maps() == [f"vdi-{disk}"]
    assert len(host.kernel.lines) == 1


def test_a_read_only_map_is_kept(host: Host) -> None:
    disk = host.create()
    host.call("vdi_activate", disk, args=("false",))
    host.call("vdi_activate", disk, args=("false",))
    assert len(host.kernel.lines) == 1
    assert ",ro " in host.kernel.lines[0]


def test_a_kernel_that_refuses_is_quoted_and_the_key_is_not(host: Host) -> None:
    host.kernel.refusal = errno.ENXIO
    disk = host.create()
    with pytest.raises(xmlrpc.client.Fault) as caught:
        host.call("vdi_activate", disk, args=("true",))
    assert caught.value.faultCode == 46
    assert "No such device or address" in caught.value.faultString
    assert KEY not in caught.value.faultString


def test_a_missing_secret_is_said(host: Host) -> None:
    disk = host.create()
    host.toolstack.secrets.clear()
    with fault(20):
        host.call("vdi_activate", disk, args=("true",))
