"""Hosts that join the storage and leave it: what is planned from a pool that works, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shoal.facts import Facts
from shoal.kit.sizes import GiB
from shoal.plan.action import Change, Plan
from shoal.plan.host_members import plan_add
from shoal.plan.host_removal import Leave, plan_remove
from shoal.plan.planner import make_plan
from shoal.spec.edit import ADD_HOST, REMOVE_HOST, Edit
from shoal.spec.model import Spec
from tests.model.world import World, make_facts, make_spec

FILE = Path("shoal.yaml")


def pool(hosts: int, more: int = 0) -> tuple[Spec, Facts]:
    """A pool that works, with hosts that have only joined it."""
    spec = make_spec(hosts)
    world = World(spec, make_facts(hosts + more))
    for action in make_plan(spec, world.facts).actions:
        if action.change is not Change.NONE:
            world.do(action)
    assert world.facts.ceph
    osds = tuple(replace(osd, uuid=f"uuid-{osd.id}", size_bytes=10 * GiB) for osd in world.facts.ceph.osds)
    ceph = replace(world.facts.ceph, health="HEALTH_OK", osds=osds, used_bytes=6 * GiB)
    return spec, replace(world.facts, ceph=ceph)


def add(facts: Facts, hosts: int) -> Plan:
    return plan_add(make_spec(hosts), facts, FILE, Edit(ADD_HOST, f"xen{hosts}"), changes_spec=True)


def test_a_host_is_added() -> None:
    _, facts = pool(3, 1)
    plan = add(facts, 4)
    assert plan.problems == ()
    kinds = [action.kind for action in plan.changes]
    assert kinds[0] == "spec_edit"
    assert {"partition", "storage_vm", "dom0_kit", "ceph_host", "ceph_osd", "shared_sr"} <= set(kinds)
    assert {action.host for action in plan.changes} == {"", "xen4"}
    world = World(make_spec(4), facts)
    for action in plan.changes[1:]:
        world.do(action)
    assert make_plan(world.spec, world.facts).changes == ()


def test_the_fifth_host_brings_two_more_monitors() -> None:
    _, facts = pool(4, 1)
    plan = add(facts, 5)
    assert plan.problems == ()
    assert "ceph_mons/cluster" in [action.id for action in plan.changes]


def test_a_host_that_has_not_joined_the_pool_is_refused() -> None:
    _, facts = pool(3)
    assert [problem.what for problem in add(facts, 4).problems] == ["the pool has no host xen4"]


def test_two_hosts_at_once_are_refused() -> None:
    _, facts = pool(3, 2)
    (problem,) = plan_add(make_spec(5), facts, FILE, Edit(ADD_HOST, "xen5"), changes_spec=True).problems
    assert problem.what.startswith("the spec wants other changes, too: partition/xen4:1, passthrough_sr/xen4")


def leave(spec: Spec, host: str, **changes: object) -> Leave:
    hosts = [one.model_dump(mode="json") for one in spec.hosts if one.name != host]
    edited = Spec.model_validate({**dict(spec), "hosts": hosts, **changes})
    return Leave(spec, edited, FILE, Edit(REMOVE_HOST, host))


def test_a_host_leaves_data_first_and_the_spec_last() -> None:
    spec, facts = pool(4)
    plan = plan_remove(leave(spec, "xen1"), facts)
    assert plan.problems == ()
    assert [action.id for action in plan.changes] == [
        *(
            "keeper_removal/xen1",
            "pbd_removal/xen1",
            "rbd_map_removal/xen1",
            "osd_removal/xen1:1",
            "disk_removal/xen1:1",
        ),
        *("ceph_host_removal/xen1", "storage_vm_removal/xen1", "passthrough_sr_removal/xen1", "dom0_kit_removal/xen1"),
        *("volume_clients/cluster", "shared_sr/shoal", "spec_edit/spec"),
    ]
    (clients,) = [action for action in plan.changes if action.kind == "volume_clients"]
    assert clients.settings["hosts"] == ("xen2", "xen3", "xen4")
    assert "xen1" not in str(clients.settings["clients"])
    moves = next(action for action in plan.actions if action.kind == "ceph_host_removal")
    assert moves.settings["mons"] == tuple(f"shoal-storage-xen{n}" for n in (2, 3, 4))
    assert {"osd_removal/xen1:1", "disk_removal/xen1:1"} <= moves.needs
    shared = next(action for action in plan.actions if action.kind == "shared_sr")
    assert "10.77.0.21" not in str(shared.settings["volumes"])
    assert set(plan.actions[-1].needs) == {action.id for action in plan.actions[:-1]}


def test_a_strangers_sr_of_the_same_name_stays_plugged() -> None:
    spec, facts = pool(4)
    (own,) = [sr for sr in facts.srs if sr.name == "shoal"]
    strange = replace(own, uuid="strange", type="nfs")
    plan = plan_remove(leave(spec, "xen1"), replace(facts, srs=(strange, *facts.srs)))
    (unplug,) = [action for action in plan.actions if action.kind == "pbd_removal"]
    assert unplug.settings["srs"] == (own.uuid, "sr-shoal LVM")


def test_a_host_whose_data_have_no_other_place_stays() -> None:
    spec, facts = pool(3)
    two = {"replicas": 2, "min_replicas": 1, "image": spec.ceph.image}
    plan = plan_remove(leave(spec, "xen3", ceph=two), facts)
    assert [problem.what for problem in plan.problems] == [
        "1 monitor would be left: none of the rest could be lost",
        "2 hosts with OSDs would be left, and 3 copies need 3",
    ]


def test_a_host_that_does_not_answer_is_not_taken_apart() -> None:
    spec, facts = pool(4)
    hosts = tuple(
        replace(host, dom0=None, unreachable="silent") if host.name == "xen4" else host for host in facts.hosts
    )
    (problem,) = plan_remove(leave(spec, "xen4"), replace(facts, hosts=hosts)).problems
    assert problem.what.endswith("cannot be taken away: silent")


def test_a_host_without_osds_by_now_goes_on_leaving() -> None:
    spec, facts = pool(4)
    assert facts.ceph
    osds = tuple(osd for osd in facts.ceph.osds if osd.host != "shoal-storage-xen4")
    plan = plan_remove(leave(spec, "xen4"), replace(facts, ceph=replace(facts.ceph, osds=osds)))
    assert plan.problems == ()
    assert "osd_removal" not in {action.kind for action in plan.actions}
    assert "disk_removal/xen4:1" in {action.id for action in plan.actions}
