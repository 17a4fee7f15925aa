"""What is put together from several looks: traces of a cluster, and which partition an OSD lies on."""

from __future__ import annotations

from dataclasses import replace

from shoal.clients.connections import Connections
from shoal.facts import Ceph, Disk, Dom0, Facts, Guest, Host, Kit, Osd, Partition, Pbd, Pool, Range, Sr, StorageVm, Vdi
from shoal.observe.guest import Seen
from shoal.observe.look import _ceph, _has_traces, _with_partitions

LINK = "/dev/disk/by-partuuid/69F48710-34c4-4587-a73c-dce9bd04034a"
PARTITION = Partition(2, "/dev/sda2", Range(1 << 20, 1 << 30), "shoal-osd-xen1-1", contents="ceph_bluestore")
DOM0 = Dom0(
    "6.1", Kit(""), (), 0.0, (Disk("/dev/sda", (), 1 << 40, partitions=(PARTITION,)),), {"shoal-osd-xen1-1": LINK}
)
HOST = Host("xen1", "u", "10.77.0.11", True, True, True, "XCP-ng", 1, 1, DOM0)
VM = StorageVm("xen1", "vm", "Running", "xen1", "10.77.0.21", {"0": "system", "2": "vdi", "x": "vdi"})
GUEST = Guest(is_ready=True, clock_skew_s=0.0)
FACTS = Facts(
    pool=Pool("p", "", "xen1", "", False, {}, ()),
    hosts=(HOST,),
    vdis=(Vdi("vdi", "any name", "sr", "/opt/shoal/disks/shoal-osd-xen1-1", 1),),
    storage_vms=(VM,),
)
NO_CONNECTIONS: Connections = None  # type: ignore[assignment]  # nobody is asked


def test_an_osd_lies_on_the_partition_behind_its_storage_vms_disk() -> None:
    osds = (
        Osd(0, "shoal-storage-xen1", True, True, device="xvdc"),
        Osd(1, "shoal-storage-xen1", True, True, device="xvdd"),
        Osd(2, "somebody else's", True, True, device="xvdc"),
    )
    ceph = _with_partitions(Ceph("f", "HEALTH_OK", osds=osds), FACTS)
    assert ceph is not None
    assert [osd.partition_uuids for osd in ceph.osds] == [(LINK.rpartition("/")[2].lower(),), (), ()]


def test_without_dom0_nothing_is_guessed() -> None:
    unseen = replace(FACTS, hosts=(replace(HOST, dom0=None),))
    ceph = _with_partitions(Ceph("f", "", osds=(Osd(0, "shoal-storage-xen1", True, True, device="xvdc"),)), unseen)
    assert ceph is not None
    assert ceph.osds[0].partition_uuids == ()


def test_traces_of_a_cluster() -> None:
    blank = replace(DOM0, disks=(replace(DOM0.disks[0], partitions=(replace(PARTITION, contents=None),)),))
    empty = replace(FACTS, hosts=(replace(HOST, dom0=blank),))
    assert _has_traces(FACTS)
    assert not _has_traces(empty)
    assert _has_traces(replace(empty, srs=(Sr("s", "shoal", "rbd", True),)))
    for device, expected in (("/dev/rbd/lvm/lvm-shoal", True), ("/dev/sdb", False)):
        sr = Sr("s", "shoal", "lvm", True, (Pbd("p", "xen1", True, {"device": device}),))
        assert _has_traces(replace(empty, srs=(sr,))) is expected


async def test_a_cluster_whose_vms_are_all_silent_is_unreachable_and_not_absent() -> None:
    found = await _ceph(FACTS, {}, NO_CONNECTIONS)
    assert found is not None
    assert found.unreachable == "the storage VMs of xen1 do not answer"


async def test_a_first_apply_that_was_killed_leaves_no_cluster() -> None:
    silent = replace(FACTS, hosts=(), srs=())
    assert await _ceph(silent, {}, NO_CONNECTIONS) is None
    seen = replace(FACTS, storage_vms=(replace(VM, guest=GUEST),))
    assert await _ceph(seen, {"xen1": Seen(GUEST)}, NO_CONNECTIONS) is None
    half = Seen(GUEST, fsid="f", has_mon=True, is_half_made=True)
    assert await _ceph(seen, {"xen1": half}, NO_CONNECTIONS) is None


async def test_a_cluster_without_a_running_monitor_is_said() -> None:
    seen = replace(FACTS, storage_vms=(replace(VM, guest=GUEST),))
    found = await _ceph(seen, {"xen1": Seen(GUEST, fsid="f")}, NO_CONNECTIONS)
    assert found is not None
    assert (found.fsid, found.unreachable) == ("f", "no monitor runs on any storage VM that answers")
