"""Hosts that join the storage and leave it: what is planned from a pool that works, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shoal.facts import Facts, Mon, SrUser
from shoal.kit.sizes import GiB
from shoal.plan.action import Change, Plan
from shoal.plan.host_members import plan_add
from shoal.plan.host_removal import Leave, plan_remove
from shoal.plan.planner import make_plan
from shoal.spec.edit import ADD_HOST, REMOVE_HOST, Edit
from shoal.spec.model import Spec
from tests.model.world import World, make_facts, make_spec

FILE = Path("shoal.yaml")


def pool(hosts: int, more: int = 0, disks: int = 1) -> tuple[Spec, Facts]:
    """A pool that works, with hosts that have only joined it."""
    spec = make_spec(hosts, disks)
    world = World(spec, make_facts(hosts + more, disks))
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
    world = World(make_spec(5), facts)
    for action in plan.changes[1:]:
        world.do(action)
    assert make_plan(world.spec, world.facts).changes == ()  # all hosts know the new monitors


def test_a_host_that_has_not_joined_the_pool_is_refused() -> None:
    _, facts = pool(3)
    assert [problem.what for problem in add(facts, 4).problems] == ["the pool has no host xen4"]


def test_two_hosts_at_once_are_refused() -> None:
    _, facts = pool(3, 2)
    (problem,) = plan_add(make_spec(5), facts, FILE, Edit(ADD_HOST, "xen5"), changes_spec=True).problems
    assert problem.what.startswith("the spec wants other changes, too: partition/xen4:1, passthrough_sr/xen4")


def leave(spec: Spec, host: str, *, is_dead: bool = False, **changes: object) -> Leave:
    hosts = [one.model_dump(mode="json") for one in spec.hosts if one.name != host]
    edited = Spec.model_validate({**dict(spec), "hosts": hosts, **changes})
    return Leave(spec, edited, FILE, Edit(REMOVE_HOST, host), is_dead=is_dead)


def test_a_host_leaves_data_first_and_the_spec_last() -> None:
    spec, facts = pool(4)
    plan = plan_remove(leave(spec, "xen2"), facts)
    assert plan.problems == ()
    assert [action.id for action in plan.changes] == [
        *(
            "keeper_removal/xen2",
            "pbd_removal/xen2",
            "rbd_map_removal/xen2",
            "osd_removal/xen2:1",
            "disk_removal/xen2:1",
        ),
        *("ceph_host_removal/xen2", "pbd_removal/xen2, once more"),
        *("storage_vm_removal/xen2", "passthrough_sr_removal/xen2", "dom0_kit_removal/xen2"),
        *(
            "host_marks_removal/xen2",
            "volume_clients/cluster",
            "shared_sr/shoal",
            "rbd_map/xen1",
            "rbd_map/xen3",
            "rbd_map/xen4",
        ),
        "spec_edit/spec",
    ]
    (clients,) = [action for action in plan.changes if action.kind == "volume_clients"]
    assert clients.settings["hosts"] == ("xen1", "xen3", "xen4")
    assert "xen2" not in str(clients.settings["clients"])
    moves = next(action for action in plan.actions if action.kind == "ceph_host_removal")
    assert moves.settings["mons"] == tuple(f"shoal-storage-xen{n}" for n in (1, 3, 4))
    assert {"osd_removal/xen2:1", "disk_removal/xen2:1"} <= moves.needs
    shared = next(action for action in plan.actions if action.kind == "shared_sr")
    assert "10.77.0.22" not in str(shared.settings["volumes"])
    assert set(plan.actions[-1].needs) == {action.id for action in plan.actions[:-1]}


def test_a_strangers_sr_of_the_same_name_stays_plugged() -> None:
    spec, facts = pool(4)
    (own,) = [sr for sr in facts.srs if sr.name == "shoal"]
    strange = replace(own, uuid="strange", type="nfs")
    plan = plan_remove(leave(spec, "xen2"), replace(facts, srs=(strange, *facts.srs)))
    unplugs = [action for action in plan.actions if action.kind == "pbd_removal"]
    assert [unplug.settings["srs"] for unplug in unplugs] == [(own.uuid, "sr-shoal LVM")] * 2


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
    assert "--dead" in problem.remedy


def test_the_master_stays() -> None:
    """xapi changes a shared SR by the master's PBD alone: without one no disk could be made on any host."""
    spec, facts = pool(4)
    (problem,) = plan_remove(leave(spec, "xen1"), facts).problems
    assert problem.what.startswith("xen1 is the pool's master")


def test_the_host_that_the_spec_reaches_the_pool_by_stays() -> None:
    spec, facts = pool(4)
    hosts = tuple(replace(host, is_master=host.name == "xen2") for host in facts.hosts)
    (problem,) = plan_remove(leave(spec, "xen1"), replace(facts, hosts=hosts)).problems
    assert problem.what == "pool.url is the address of xen1, which leaves"


def test_a_host_whose_vms_use_the_shared_sr_stays() -> None:
    spec, facts = pool(4)
    (sr,) = [sr for sr in facts.srs if sr.name == "shoal"]
    users = (SrUser("web", "xen2", sr.uuid), SrUser("db", "xen3", sr.uuid), SrUser("local", "xen2", "sr-local"))
    used = replace(facts, sr_users=users)
    (problem,) = plan_remove(leave(spec, "xen2"), used).problems
    assert problem.what == "web on xen2 has disks on the SR shoal"
    assert plan_remove(leave(spec, "xen4"), used).problems == ()


def test_an_image_is_unmapped_where_its_pbd_is_gone_already() -> None:
    spec, facts = pool(4)
    srs = tuple(replace(sr, pbds=tuple(pbd for pbd in sr.pbds if pbd.host != "xen2")) for sr in facts.srs)
    actions = {action.id: action for action in plan_remove(leave(spec, "xen2"), replace(facts, srs=srs)).actions}
    assert "pbd_removal/xen2" not in actions
    assert "rbd_map_removal/xen2" in actions
    # While the data moved the toolstack may have started anew, and that gives a host a PBD of each shared SR.
    again = actions["pbd_removal/xen2, once more"]
    assert len(again.settings["srs"]) == 2  # type: ignore[arg-type]
    assert "osd_removal/xen2:1" in again.needs and again.id in actions["dom0_kit_removal/xen2"].needs


def test_all_osds_of_a_host_are_emptied_together() -> None:
    """One after the other, the first ones' data would fill the last ones of the same host."""
    spec, facts = pool(4, disks=6)
    leaves = [action for action in plan_remove(leave(spec, "xen2"), facts).actions if action.kind == "osd_removal"]
    ids = [action.settings["osd"] for action in leaves]
    assert len(ids) == 6
    assert all(action.settings["together"] == tuple(ids) for action in leaves)


def test_a_host_whose_storage_vm_is_off_stays() -> None:
    spec, facts = pool(4)
    vms = tuple(
        replace(vm, guest=None, unreachable="it is halted") if vm.host == "xen4" else vm for vm in facts.storage_vms
    )
    (problem,) = plan_remove(leave(spec, "xen4"), replace(facts, storage_vms=vms)).problems
    assert problem.what.endswith("only while its storage VM answers: it is halted")


def without(facts: Facts, name: str) -> Facts:
    """The pool knows the host no more."""
    pbds = {sr.uuid: tuple(pbd for pbd in sr.pbds if pbd.host != name) for sr in facts.srs}
    return replace(
        facts,
        hosts=tuple(host for host in facts.hosts if host.name != name),
        storage_vms=tuple(vm for vm in facts.storage_vms if vm.host != name),
        srs=tuple(replace(sr, pbds=pbds[sr.uuid]) for sr in facts.srs if pbds[sr.uuid]),
    )


def test_afterwards_nothing_is_left_to_do() -> None:
    """Its monitor has moved by then; all that knew of it has been told in the same run."""
    spec, facts = pool(4)
    assert facts.ceph
    asked, own = leave(spec, "xen2"), "shoal-storage-xen2"
    plan = plan_remove(asked, facts)
    mons = (*(mon for mon in facts.ceph.mons if mon.name != own), Mon("shoal-storage-xen4", "10.77.0.24", 6789, True))
    mgrs = tuple(
        replace(facts.ceph.mgrs[0], name=f"shoal-storage-xen{n}.x", host=f"shoal-storage-xen{n}") for n in (1, 3)
    )
    ceph = replace(
        facts.ceph,
        mons=mons,
        mgrs=mgrs,
        hosts=tuple(host for host in facts.ceph.hosts if host.name != own),
        osds=tuple(osd for osd in facts.ceph.osds if osd.host != own),
    )
    left = replace(without(facts, "xen2"), ceph=ceph)
    world = World(asked.edited, left)
    told = {"volume_clients", "shared_sr", "rbd_map"}
    assert {action.kind for action in make_plan(asked.edited, left).changes} == told
    for action in plan.changes:
        if action.kind in told:
            world.do(action)
    after = make_plan(asked.edited, world.facts)
    assert (after.changes, after.problems) == ((), ())


def test_a_host_whose_removal_was_given_up_is_opened_to_daemons_again() -> None:
    spec, facts = pool(4)
    assert facts.ceph
    closed = tuple(
        replace(host, labels=("_no_schedule",)) if host.name == "shoal-storage-xen3" else host
        for host in facts.ceph.hosts
    )
    (action,) = make_plan(spec, replace(facts, ceph=replace(facts.ceph, hosts=closed))).changes
    reason = "it is closed to daemons: a removal was cut off, or somebody drained it"
    assert (action.id, action.reason) == ("ceph_host/xen3", reason)


def dead(facts: Facts, name: str) -> Facts:
    """Its power is gone for good."""
    own = f"shoal-storage-{name}"
    assert facts.ceph
    hosts = tuple(replace(host, live=False, dom0=None) if host.name == name else host for host in facts.hosts)
    vms = tuple(replace(vm, guest=None, unreachable="silent") if vm.host == name else vm for vm in facts.storage_vms)
    osds = tuple(replace(osd, up=False) if osd.host == own else osd for osd in facts.ceph.osds)
    mons = tuple(replace(mon, in_quorum=mon.name != own) for mon in facts.ceph.mons)
    ceph = replace(facts.ceph, health="HEALTH_WARN", osds=osds, mons=mons)
    return replace(facts, hosts=hosts, storage_vms=vms, ceph=ceph)


def test_of_a_dead_host_only_what_the_others_know_goes() -> None:
    spec, facts = pool(4)
    lost = dead(facts, "xen2")
    assert [problem.what for problem in plan_remove(leave(spec, "xen2"), lost).problems] == [
        "not in quorum: mon shoal-storage-xen2"
    ]
    plan = plan_remove(leave(spec, "xen2", is_dead=True), lost)
    assert plan.problems == ()
    assert [action.id for action in plan.changes] == [
        *("osd_removal/xen2:osd.1", "ceph_host_removal/xen2", "volume_clients/cluster", "shared_sr/shoal"),
        *("rbd_map/xen1", "rbd_map/xen3", "rbd_map/xen4", "spec_edit/spec"),
    ]
    leaves, moves = plan.actions[:2]
    assert (leaves.settings["drain"], leaves.settings["has_daemon"]) == (True, False)
    assert moves.settings["is_dead"] is True
    resting = tuple(replace(host, maintenance="noon") if host.name == "xen2" else host for host in lost.hosts)
    assert plan_remove(leave(spec, "xen2", is_dead=True), replace(lost, hosts=resting)).problems == ()


def test_a_host_that_lives_is_not_taken_for_dead() -> None:
    spec, facts = pool(4)
    (problem,) = plan_remove(leave(spec, "xen2", is_dead=True), facts).problems
    assert problem.what == (
        "xen2 is not dead: the pool says that it is live, its dom0 answers, its storage VM answers, osd.1 is up"
    )


def test_a_dead_host_that_spec_and_pool_have_forgotten_leaves_ceph() -> None:
    """Another one has its place in the spec."""
    spec, facts = pool(4)
    assert facts.ceph
    lost = dead(facts, "xen2")
    forgotten = replace(lost, hosts=tuple(host for host in lost.hosts if host.name != "xen2"), storage_vms=())
    edited = leave(spec, "xen2").edited
    asked = Leave(edited, edited, FILE, Edit(REMOVE_HOST, "xen2"), changes_spec=False, is_dead=True)
    plan = plan_remove(asked, forgotten)
    assert plan.problems == ()
    assert [action.id for action in plan.changes[:2]] == ["osd_removal/xen2:osd.1", "ceph_host_removal/xen2"]
    still = (*lost.ceph.mons, Mon("shoal-storage-xen9", "", 6789, in_quorum=False))  # type: ignore[union-attr]
    other = replace(forgotten, ceph=replace(lost.ceph, mons=still))  # type: ignore[type-var]
    assert [problem.what for problem in plan_remove(asked, other).problems] == ["not in quorum: mon shoal-storage-xen9"]


def test_a_dead_host_that_nothing_knows_is_a_mistake_in_the_name() -> None:
    spec, facts = pool(4)
    asked = Leave(spec, spec, FILE, Edit(REMOVE_HOST, "xen44"), changes_spec=False, is_dead=True)
    plan = plan_remove(asked, facts)
    assert [problem.what for problem in plan.problems] == ["neither the spec nor the pool nor Ceph knows a host xen44"]
    assert facts.ceph
    mon = Mon("shoal-storage-xen44", "", 6789, in_quorum=False)
    left = replace(facts, ceph=replace(facts.ceph, mons=(*facts.ceph.mons, mon)))
    assert plan_remove(asked, left).problems == ()


def test_a_host_without_osds_by_now_goes_on_leaving() -> None:
    spec, facts = pool(4)
    assert facts.ceph
    osds = tuple(osd for osd in facts.ceph.osds if osd.host != "shoal-storage-xen4")
    plan = plan_remove(leave(spec, "xen4"), replace(facts, ceph=replace(facts.ceph, osds=osds)))
    assert plan.problems == ()
    assert "osd_removal" not in {action.kind for action in plan.actions}
    assert "disk_removal/xen4:1" in {action.id for action in plan.actions}


def test_another_host_takes_the_place_of_a_dead_one_of_three() -> None:
    """There is no place for the copies until it is there; then Ceph forgets the dead one."""
    spec, facts = pool(3, 1)
    lost = dead(facts, "xen2")
    asked = leave(spec, "xen2", is_dead=True)
    assert "2 hosts with OSDs would be left, and 3 copies need 3" in [
        problem.what for problem in plan_remove(asked, lost).problems
    ]
    rest = tuple(host for host in make_spec(4).hosts if host.name != "xen2")
    edited = Spec.model_validate({**dict(spec), "hosts": [host.model_dump(mode="json") for host in rest]})
    forgotten = without(lost, "xen2")
    plan = make_plan(edited, forgotten)
    assert plan.problems == ()
    assert {"ceph_mons/cluster", "ceph_host/xen4", "ceph_osd/xen4:1", "shared_sr/shoal"} <= {
        action.id for action in plan.changes
    }
    world = World(edited, forgotten)
    for action in plan.changes:
        world.do(action)
    assert world.facts.ceph
    osds = tuple(replace(osd, size_bytes=10 * GiB) for osd in world.facts.ceph.osds)
    after = replace(world.facts, ceph=replace(world.facts.ceph, osds=osds))
    last = Leave(edited, edited, FILE, Edit(REMOVE_HOST, "xen2"), changes_spec=False, is_dead=True)
    plan = plan_remove(last, after)
    assert plan.problems == ()
    assert [action.id for action in plan.changes[:2]] == ["osd_removal/xen2:osd.1", "ceph_host_removal/xen2"]
