"""Plans of pools in particular states: what is planned, and why."""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

from shoal.facts import Ceph, CephImage, Facts
from shoal.kit.sizes import TiB
from shoal.plan.action import Change
from shoal.plan.planner import make_plan
from tests.model.world import World, make_facts, make_spec

SPEC = make_spec()


def changes_of(facts: Facts) -> dict[str, str]:
    return {action.id: f"{action.change}: {action.reason}" for action in make_plan(SPEC, facts).changes}


def finished() -> World:
    world = World(SPEC, make_facts())
    for action in make_plan(SPEC, world.facts).actions:
        world.do(action)
    return world


def test_an_untouched_pool_gets_everything() -> None:
    plan = make_plan(SPEC, make_facts())
    assert {action.change for action in plan.actions} == {Change.CREATE, Change.UPDATE}
    assert len(plan.actions) == 56


def test_after_a_power_cut_nothing_is_made_anew() -> None:
    """The storage VMs are down, so Ceph cannot be seen: that must never read as "there is none"."""
    world = finished()
    vms = tuple(replace(vm, power_state="Halted", resident_on="", guest=None) for vm in world.facts.storage_vms)
    planned = changes_of(replace(world.facts, storage_vms=vms, ceph=None))
    assert not [name for name, reason in planned.items() if reason.startswith("create")]
    assert planned["storage_vm_ready/xen1"] == "update: its power state is Halted"
    assert planned["ceph_cluster/cluster"] == (
        "update: cannot be seen yet: the storage VM of xen1, xen2, xen3 does not answer"
    )


def test_a_pbd_of_a_host_that_has_just_booted_is_not_believed() -> None:
    """It says what was when the host died. Before its toolstack has started, `apply` would leave it unplugged."""
    world = finished()
    vms = tuple(
        replace(vm, power_state="Halted", resident_on="", guest=None) if vm.host == "xen3" else vm
        for vm in world.facts.storage_vms
    )
    assert changes_of(replace(world.facts, storage_vms=vms))["shared_sr/shoal"] == (
        "update: the storage VM of xen3 is Halted: whether it is plugged there can be seen when it runs"
    )


def maps_changed(world: World, **changes: Any) -> str:
    """What is planned for xen2's maps when they are like that."""
    hosts = tuple(
        replace(host, dom0=replace(host.dom0, maps=replace(host.dom0.maps, **changes)))
        if host.dom0 and host.name == "xen2"
        else host
        for host in world.facts.hosts
    )
    return changes_of(replace(world.facts, hosts=hosts)).get("rbd_map/xen2", "")


def test_a_dom0_that_would_not_map_after_a_boot_is_mended() -> None:
    world = finished()
    assert maps_changed(world) == ""
    assert maps_changed(world, mapped={}) == "update: lvm/lvm-shoal-lvm is not mapped"
    assert maps_changed(world, is_enabled=False) == "update: nothing maps at boot"
    assert maps_changed(world, has_key=False) == "update: dom0 has no key to map with"
    assert maps_changed(world, fsid="other") == "update: dom0 maps images of another cluster"
    assert maps_changed(world, images=("lvm/lvm-x",)) == "update: dom0 maps lvm/lvm-x, wanted lvm/lvm-shoal-lvm"
    monitors = ("10.77.0.21:6789", "10.77.0.22:6789")
    assert maps_changed(world, monitors=monitors) == "update: dom0 does not know the monitor 10.77.0.23:6789"


def test_an_image_grows_and_is_never_made_smaller() -> None:
    world = finished()
    assert world.facts.ceph
    (name,) = world.facts.ceph.images

    def with_image(size: int, *features: str) -> Facts:
        assert world.facts.ceph
        return replace(world.facts, ceph=replace(world.facts.ceph, images={name: CephImage(size, features)}))

    small = with_image(2 * TiB, "layering")
    assert changes_of(small)["ceph_image/shoal LVM"] == f"update: {name} has 2 TiB, wanted 4 TiB"
    assert make_plan(SPEC, small).problems == ()
    (problem,) = make_plan(SPEC, with_image(8 * TiB, "layering")).problems
    assert (problem.what, problem.where) == (
        f"the image {name} has 8 TiB already, and an image is never made smaller",
        "srs.1.image_size",
    )
    (problem,) = make_plan(SPEC, with_image(4 * TiB, "exclusive-lock", "layering")).problems
    assert "was not made by Shoal: its features are exclusive-lock, layering" in problem.what


def test_an_osd_partition_is_not_foreign_while_ceph_cannot_be_seen() -> None:
    world = finished()
    hosts = []
    for host in world.facts.hosts:
        assert host.dom0
        disks = tuple(
            replace(disk, partitions=tuple(replace(part, contents="ceph_bluestore") for part in disk.partitions))
            for disk in host.dom0.disks
        )
        hosts.append(replace(host, dom0=replace(host.dom0, disks=disks)))
    hidden = replace(world.facts, hosts=tuple(hosts), ceph=Ceph("fsid", "", unreachable="no monitor answers"))
    assert make_plan(SPEC, hidden).problems == ()
    gone = replace(hidden, ceph=None)
    assert "no Ceph cluster that it belongs to" in make_plan(SPEC, gone).problems[0].what


def test_a_host_that_cannot_be_asked_stops_everything() -> None:
    facts = make_facts()
    hosts = (replace(facts.hosts[0], dom0=None, unreachable="connection refused"), *facts.hosts[1:])
    plan = make_plan(SPEC, replace(facts, hosts=hosts))
    assert [problem.where for problem in plan.problems] == ["hosts.0"]
    assert len(plan.actions) == 56


def test_a_storage_vm_on_another_host_is_brought_back() -> None:
    world = finished()
    vms = tuple(replace(vm, resident_on="xen3") for vm in world.facts.storage_vms)
    planned = changes_of(replace(world.facts, storage_vms=vms))
    assert planned["storage_vm_ready/xen1"] == "update: it runs on xen3, and its disks are on xen1"
    assert "storage_vm_ready/xen3" not in planned


def test_changed_settings_of_a_storage_vm_are_refused_for_now() -> None:
    world = finished()
    spec = make_spec(storage_vm={"image": SPEC.storage_vm.image, "memory": "8GiB"})
    problems = make_plan(spec, world.facts).problems
    assert [problem.where for problem in problems] == ["hosts.0", "hosts.1", "hosts.2"]
    assert "not yet in this version" in problems[0].what


def test_monitors_that_moved_are_told_to_the_pbds() -> None:
    world = finished()
    assert world.facts.ceph
    mons = (*world.facts.ceph.mons[:2], replace(world.facts.ceph.mons[2], address="10.77.0.99"))
    planned = changes_of(replace(world.facts, ceph=replace(world.facts.ceph, mons=mons)))
    assert planned.pop("shared_sr/shoal") == "update: the PBD of xen1 does not know the monitor 10.77.0.99:6789"
    stale = "update: dom0 does not know the monitor 10.77.0.99:6789"
    assert planned == {f"rbd_map/{host.name}": stale for host in SPEC.hosts}


def test_a_new_version_of_the_kit_restarts_toolstacks_one_after_the_other() -> None:
    world = finished()
    planned = make_plan(SPEC, replace(world.facts, wanted_digests={**world.facts.wanted_digests, "kit": "new"}))
    kinds = [action.kind for action in planned.changes]
    assert kinds == ["dom0_kit"] * 3 + ["toolstack"] * 3
    first, second, third = (action for action in planned.changes if action.kind == "toolstack")
    assert first.target == world.facts.pool.master
    assert first.id in second.needs
    assert second.id in third.needs


def test_a_keeper_that_does_not_run_is_started() -> None:
    world = finished()
    first, *others = world.facts.hosts
    assert first.dom0
    stopped = replace(first, dom0=replace(first.dom0, kit=replace(first.dom0.kit, keeper_runs=False)))
    assert changes_of(replace(world.facts, hosts=(stopped, *others))) == {
        "dom0_kit/xen1": "update: the keeper does not run"
    }


def test_a_new_image_never_replaces_a_system_disk() -> None:
    world = finished()
    digests = {**world.facts.wanted_digests, "storage_vm_image": "another"}
    assert changes_of(replace(world.facts, wanted_digests=digests)) == {}


def services_need(facts: Facts) -> dict[str, set[str]]:
    """Of which lists and dom0s the volume service's files wait for."""
    plan = make_plan(SPEC, facts)
    list(TopologicalSorter({action.id: action.needs for action in plan.actions}).static_order())  # raises for a circle
    needs = {action.target: action.needs for action in plan.actions if action.kind == "volume_service"}
    return {host: {need for need in those if need.startswith("volume_client")} for host, those in needs.items()}


def test_new_code_of_the_volume_service_waits_for_the_certificates_that_it_takes() -> None:
    listed = {"volume_clients/cluster"}
    assert services_need(make_facts())["xen1"] == listed
    world = finished()
    assert services_need(world.facts)["xen1"] == listed
    old = replace(world.facts, wanted_digests={**world.facts.wanted_digests, "volume_service": "of the next version"})
    assert services_need(old)["xen1"] == {*listed, *(f"volume_client/{host.name}" for host in SPEC.hosts)}
    unseen = tuple(replace(vm, guest=None) if vm.host == "xen1" else vm for vm in world.facts.storage_vms)
    assert "volume_client/xen3" in services_need(replace(world.facts, storage_vms=unseen))["xen1"]
    mute = tuple(replace(host, dom0=None) if host.name == "xen3" else host for host in old.hosts)
    assert services_need(replace(old, hosts=mute))["xen1"] == {*listed, "volume_client/xen1", "volume_client/xen2"}
