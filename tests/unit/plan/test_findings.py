"""What `status` finds: nothing on a pool that works, one line for each thing that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.facts import Facts, Maps, Osd, Sr
from shoal.kit.sizes import GiB
from shoal.plan.findings import find_faults
from shoal.plan.planner import make_plan
from tests.model.world import World, make_facts, make_spec

SPEC = make_spec()


@pytest.fixture(scope="module")
def healthy() -> Facts:
    world = World(SPEC, make_facts())
    for action in make_plan(SPEC, world.facts).actions:
        world.do(action)
    assert world.facts.ceph
    ceph = replace(world.facts.ceph, health="HEALTH_OK", pgs=33, clean_pgs=33, total_bytes=90 * GiB, used_bytes=GiB)
    return replace(world.facts, ceph=ceph)


def found(facts: Facts) -> list[str]:
    faults = find_faults(SPEC, facts)
    assert all(fault.remedy for fault in faults)
    return [fault.what for fault in faults]


def test_nothing_on_a_pool_that_works(healthy: Facts) -> None:
    assert found(healthy) == []


def test_an_untouched_pool() -> None:
    assert found(make_facts()) == [
        "there is no storage VM shoal-storage-xen1",
        "there is no storage VM shoal-storage-xen2",
        "there is no storage VM shoal-storage-xen3",
        "no Ceph cluster can be seen",
        "there is no SR shoal",
        "there is no SR shoal LVM",
    ]


def test_a_dead_host(healthy: Facts) -> None:
    hosts = tuple(replace(host, live=host.name != "xen2") for host in healthy.hosts)
    assert found(replace(healthy, hosts=hosts)) == ["host xen2 is not live"]


def test_a_storage_vm_that_is_down(healthy: Facts) -> None:
    vms = tuple(replace(vm, power_state="Halted") if vm.host == "xen3" else vm for vm in healthy.storage_vms)
    assert found(replace(healthy, storage_vms=vms)) == ["shoal-storage-xen3 is halted"]


def test_ceph_in_its_own_words(healthy: Facts) -> None:
    assert healthy.ceph
    mons = tuple(replace(mon, in_quorum=not mon.name.endswith("xen2")) for mon in healthy.ceph.mons)
    osds = (*healthy.ceph.osds[:2], Osd(2, "shoal-storage-xen2", up=False, in_cluster=True))
    checks = ("1/3 mons down, quorum a,b", "1 osds down")
    ceph = replace(healthy.ceph, health="HEALTH_WARN", health_checks=checks, mons=mons, osds=osds, clean_pgs=1)
    assert found(replace(healthy, ceph=ceph)) == [
        "Ceph says HEALTH_WARN: 1/3 mons down, quorum a,b; 1 osds down",
        "not in quorum: mon shoal-storage-xen2",
        "osd.2 on shoal-storage-xen2 is down",
        "32 of 33 placement groups are not active+clean",
    ]


def test_a_cluster_that_does_not_answer(healthy: Facts) -> None:
    assert healthy.ceph
    ceph = replace(healthy.ceph, unreachable="no monitor answers")
    assert found(replace(healthy, ceph=ceph)) == ["Ceph does not answer: no monitor answers"]


def test_a_cluster_that_fills_up(healthy: Facts) -> None:
    assert healthy.ceph
    ceph = replace(healthy.ceph, used_bytes=72 * GiB)
    assert found(replace(healthy, ceph=ceph)) == ["Ceph is filling up: 80% of 90 GiB"]


def test_a_pbd_that_is_not_plugged(healthy: Facts) -> None:
    def unplugged(sr: Sr) -> Sr:
        return replace(sr, pbds=tuple(replace(pbd, attached=pbd.host != "xen1") for pbd in sr.pbds))

    srs = tuple(unplugged(sr) if sr.name == "shoal" else sr for sr in healthy.srs)
    assert found(replace(healthy, srs=srs)) == ["SR shoal is not plugged on xen1"]


def test_an_image_that_is_not_mapped_is_why_its_sr_is_not_plugged(healthy: Facts) -> None:
    hosts = tuple(
        replace(host, dom0=replace(host.dom0, maps=Maps())) if host.dom0 and host.name == "xen1" else host
        for host in healthy.hosts
    )
    srs = tuple(
        replace(sr, pbds=tuple(replace(pbd, attached=False) for pbd in sr.pbds)) if sr.type == "lvm" else sr
        for sr in healthy.srs
    )
    assert found(replace(healthy, hosts=hosts, srs=srs)) == [
        "SR shoal LVM is not plugged on xen1: its image is not mapped there",
        "SR shoal LVM is not plugged on xen2",
        "SR shoal LVM is not plugged on xen3",
    ]
