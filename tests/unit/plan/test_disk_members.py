"""Disks of the pool that come and go: what is planned from a pool that works, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shoal.facts import Disk, Facts, Host, Osd
from shoal.kit.sizes import GiB
from shoal.plan import disk_removal, osd_removal
from shoal.plan.action import Change, Plan
from shoal.plan.disk_members import Work, find_number, plan_add, plan_remove, plan_replace
from shoal.plan.planner import make_plan
from shoal.plan.redundancy import is_in_danger
from shoal.spec.edit import ADD_DISK, REMOVE_DISK, REPLACE_DISK, Edit
from shoal.spec.model import Spec
from tests.model.world import World, by_id, make_facts, make_spec

FILE = Path("shoal.yaml")
NEW = "/dev/disk/by-id/scsi-SHOAL-xen2-3"


def pool(disks: int = 2, used_gib: int = 6) -> tuple[Spec, Facts]:
    """A pool of three hosts that works, with one more disk on each that nobody uses; 10 GiB on every OSD."""
    spec = make_spec(3, disks)
    world = World(spec, make_facts(3, 3))
    for action in make_plan(spec, world.facts).actions:
        if action.change is not Change.NONE:
            world.do(action)
    assert world.facts.ceph
    osds = tuple(replace(osd, uuid=f"uuid-{osd.id}", size_bytes=10 * GiB) for osd in world.facts.ceph.osds)
    ceph = replace(world.facts.ceph, health="HEALTH_OK", osds=osds, used_bytes=used_gib * GiB)
    return spec, replace(world.facts, ceph=ceph)


def change_osds(facts: Facts, which: Callable[[Osd], bool], **changes: Any) -> Facts:
    assert facts.ceph
    osds = tuple(replace(osd, **changes) if which(osd) else osd for osd in facts.ceph.osds)
    return replace(facts, ceph=replace(facts.ceph, osds=osds))


def is_on(host: str, number: int) -> Callable[[Osd], bool]:
    return lambda osd: osd.partition_uuids == (f"part-{host}-{number}",)


def with_disks(spec: Spec, host: str, *disks: Mapping[str, object]) -> Spec:
    hosts = [
        {**one.model_dump(mode="json"), "disks": list(disks)} if one.name == host else one.model_dump(mode="json")
        for one in spec.hosts
    ]
    return Spec.model_validate({**dict(spec), "hosts": hosts})


def disks_of(spec: Spec, host: str) -> list[dict[str, object]]:
    return [disk.model_dump(mode="json") for disk in spec.host(host).disks]


def replacing(spec: Spec, number: int = 2, **more: Any) -> Work:
    disks = disks_of(spec, "xen2")
    edit = Edit(REPLACE_DISK, "xen2", str(disks[number - 1]["device"]), {"device": NEW, "use": "whole-disk"})
    disks[number - 1] = {"device": NEW, "use": "whole-disk"}
    return Work(spec, with_disks(spec, "xen2", *disks), FILE, edit, number, **more)


def removing(spec: Spec, number: int = 2, **more: Any) -> Work:
    disks = disks_of(spec, "xen2")
    gone = disks.pop(number - 1)
    disks = [{**disk, "number": at + 1} if at >= number else disk for at, disk in enumerate(disks, start=1)]
    return Work(
        spec, with_disks(spec, "xen2", *disks), FILE, Edit(REMOVE_DISK, "xen2", str(gone["device"])), number, **more
    )


def changes(plan: Plan) -> list[str]:
    assert plan.problems == ()
    return [action.id for action in plan.changes]


def says(plan: Plan) -> list[str]:
    assert all(problem.remedy for problem in plan.problems)
    return [problem.what for problem in plan.problems]


def reason(plan: Plan, action: str) -> str:
    return next(one.reason for one in plan.actions if one.id == action)


def test_a_disk_is_replaced_after_its_data_have_left_it() -> None:
    spec, facts = pool()
    plan = plan_replace(replacing(spec), facts)
    assert changes(plan) == [
        *("osd_removal/xen2:2", "disk_removal/xen2:2", "spec_edit/spec"),
        *("partition/xen2:2", "passthrough_sr/xen2", "storage_vm/xen2", "ceph_osd/xen2:2"),
    ]
    needs = {action.id: action.needs for action in plan.changes}
    assert "osd_removal/xen2:2" in needs["disk_removal/xen2:2"]
    assert {"disk_removal/xen2:2", "spec_edit/spec"} <= needs["partition/xen2:2"]
    leaves = plan.actions[0]
    assert (leaves.settings["drain"], leaves.settings["keep_id"]) == (True, True)
    assert "it gets the place of osd." in reason(plan, "ceph_osd/xen2:2")
    assert "stays, as 'old-shoal-osd-xen2-2'" in reason(plan, "disk_removal/xen2:2")


def test_no_disk_leaves_a_dom0_that_does_not_answer() -> None:
    """What is on the disk cannot be told then, and its partition would keep its name."""
    spec, facts = pool(3)
    hosts = tuple(replace(host, dom0=None) if host.name == "xen2" else host for host in facts.hosts)
    assert says(plan_remove(removing(spec), replace(facts, hosts=hosts))) == [
        "dom0 of xen2 does not answer, so what is on the disk cannot be told: no reason known"
    ]


def test_no_disk_leaves_while_an_osd_that_runs_may_be_on_it() -> None:
    spec, facts = pool(3)
    unknown = change_osds(facts, is_on("xen2", 2), device="", partition_uuids=())
    (said,) = says(plan_remove(removing(spec), unknown))
    assert said.startswith("Ceph does not say which disk of xen2 osd.") and said.endswith(" lies on, and it runs")


def test_no_partition_is_made_in_the_place_of_one_that_an_osd_has_lost() -> None:
    """Its table is damaged, or another disk is in its slot: `wipe: true` of the first day must not end what is left."""
    spec, facts = pool()
    spec = with_disks(spec, "xen2", *({**disk, "wipe": True} for disk in disks_of(spec, "xen2")))
    facts = change_osds(facts, is_on("xen2", 2), device="xvdd", up=False, partition_uuids=())
    assert make_plan(spec, facts).problems == ()

    def without_names(host: Host) -> Host:
        assert host.dom0
        disks = (
            replace(d, partitions=tuple(replace(p, name="", uuid="") for p in d.partitions)) for d in host.dom0.disks
        )
        kept = (old if old.device != "/dev/sdb" else new for old, new in zip(host.dom0.disks, disks, strict=True))
        return replace(host, dom0=replace(host.dom0, disks=tuple(kept)))

    damaged = replace(facts, hosts=tuple(without_names(h) if h.name == "xen2" else h for h in facts.hosts))
    (problem,) = make_plan(spec, damaged).problems
    assert problem.what.endswith(" is on disk 2 of xen2, whose partition shoal-osd-xen2-2 is not there any more")
    assert problem.remedy == "shoal disk replace xen2 2 DEVICE"
    work = replace(
        replacing(spec),
        edited=with_disks(spec, "xen2", disks_of(spec, "xen2")[0], {"device": NEW, "use": "whole-disk"}),
    )
    assert plan_replace(work, damaged).problems == ()


def test_without_room_elsewhere_a_copy_less_is_said() -> None:
    spec, facts = pool(disks=1)
    work = replacing(spec, 1)
    plan = plan_replace(work, facts)
    assert plan.actions[0].change is Change.DESTROY
    assert "ONE COPY LESS" in plan.actions[0].reason
    assert plan.actions[0].settings["drain"] is False


def test_a_dead_disk_is_replaced() -> None:
    spec, facts = pool()
    facts = change_osds(facts, is_on("xen2", 2), up=False, partition_uuids=(), device="")
    hosts = tuple(
        replace(h, dom0=replace(h.dom0, disks=tuple(d for d in h.dom0.disks if d.device != "/dev/sdb")))
        if h.name == "xen2" and h.dom0
        else h
        for h in facts.hosts
    )
    plan = plan_replace(replacing(spec), replace(facts, hosts=hosts))
    assert changes(plan)[:3] == ["osd_removal/xen2:2", "disk_removal/xen2:2", "spec_edit/spec"]
    assert plan.actions[0].settings["drain"] is False
    assert plan.actions[1].settings["device"] == ""
    nearly = disk_removal.without_disk(replace(facts, hosts=hosts), spec.host("xen2"), 2, wipe=False)
    assert not disk_removal.is_there(nearly, "xen2", 2)
    assert disk_removal.is_there(replace(nearly, vdis=facts.vdis), "xen2", 2)
    assert "dom0 does not see the disk" in plan.actions[1].reason


def test_a_replacement_that_was_cut_off_goes_on() -> None:
    spec, facts = pool()
    work = replacing(spec)
    (osd,) = [osd for osd in facts.ceph.osds if is_on("xen2", 2)(osd)]  # type: ignore[union-attr]
    halfway = change_osds(facts, lambda one: one.id == osd.id, destroyed=True, up=False, partition_uuids=(), uuid="")
    assert changes(plan_replace(work, halfway))[0] == "disk_removal/xen2:2"
    plan = plan_replace(replace(work, spec=work.edited, changes_spec=False), halfway)
    assert changes(plan)[:2] == ["disk_removal/xen2:2", "partition/xen2:2"]


def test_nothing_else_is_changed() -> None:
    spec, facts = pool()
    missing = replace(facts, ceph=replace(facts.ceph, services={}))  # type: ignore[type-var]
    assert says(plan_replace(replacing(spec), missing)) == [
        "the spec wants other changes, too: volume_services/cluster"
    ]


def test_a_disk_is_removed_and_the_others_keep_their_numbers() -> None:
    spec, facts = pool()
    work = removing(spec, 1)
    plan = plan_remove(work, facts)
    assert changes(plan) == ["osd_removal/xen2:1", "disk_removal/xen2:1", "spec_edit/spec"]
    assert (plan.actions[0].settings["drain"], plan.actions[0].settings["keep_id"]) == (True, False)
    assert work.edited.host("xen2").disk_numbers == (2,)
    left = replace(facts, ceph=replace(facts.ceph, osds=tuple(o for o in facts.ceph.osds if not is_on("xen2", 1)(o))))  # type: ignore[type-var, union-attr]
    assert make_plan(work.edited, left).changes == ()


def test_a_removal_is_refused_where_copies_would_have_no_host() -> None:
    spec, facts = pool()
    facts = change_osds(facts, is_on("xen2", 1), in_cluster=False)
    assert says(plan_remove(removing(spec), facts)) == ["2 hosts with OSDs would be left, and 3 copies need 3"]


def test_a_removal_is_refused_without_room() -> None:
    spec, facts = pool(used_gib=45)
    (what,) = says(plan_remove(removing(spec), facts))
    assert what == "what is left has room for 38.5 GiB up to the near-full mark of 85%, and 45 GiB are used"


def test_a_down_osds_data_need_room_that_ceph_does_not_count_any_more() -> None:
    spec, facts = pool()
    facts = replace(facts, ceph=replace(facts.ceph, stored_bytes=15 * GiB))  # type: ignore[type-var]
    assert says(plan_remove(removing(spec), facts)) == []
    (what,) = says(plan_remove(removing(spec), change_osds(facts, is_on("xen2", 2), up=False)))
    assert what.endswith("and 45 GiB are used")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"health": "HEALTH_ERR", "health_checks": ("1 scrub error",)}, "Ceph says HEALTH_ERR: 1 scrub error"),
        (
            {"health": "HEALTH_WARN", "health_checks": ("1/3 objects unfound (33.3%)",)},
            "1/3 objects unfound (33.3%)",
        ),
        ({"unreachable": "no quorum"}, "Ceph cannot be asked: no quorum"),
        ({"pg_states": {"active+clean": 3, "down": 2}}, "not all data can be reached: 2 down placement groups"),
    ],
)
def test_nothing_leaves_a_cluster_in_danger(change: dict[str, Any], what: str) -> None:
    spec, facts = pool()
    ill = replace(facts, ceph=replace(facts.ceph, **change))  # type: ignore[type-var]
    assert says(plan_replace(replacing(spec), ill)) == [what]
    assert says(plan_remove(removing(spec), ill)) == [what]


def test_nothing_leaves_while_another_osd_is_down() -> None:
    spec, facts = pool()
    ill = change_osds(facts, is_on("xen1", 1), up=False)
    (what,) = says(plan_replace(replacing(spec), ill))
    assert what.endswith("on shoal-storage-xen1 is down, too")


def test_nothing_leaves_while_a_host_is_in_maintenance() -> None:
    """Its storage VM may run yet, while its VMs move away, and goes off at any moment."""
    spec, facts = pool()
    hosts = tuple(replace(host, maintenance="noon") if host.name == "xen1" else host for host in facts.hosts)
    for plan in (
        plan_replace(replacing(spec), replace(facts, hosts=hosts)),
        plan_remove(removing(spec), replace(facts, hosts=hosts)),
    ):
        assert says(plan) == ["xen1 is in maintenance since noon"]


def test_two_dead_disks_of_one_host_are_not_mixed_up() -> None:
    spec, facts = pool()
    ill = change_osds(facts, lambda osd: osd.host == "shoal-storage-xen2", up=False, partition_uuids=(), device="")
    (what,) = says(plan_replace(replacing(spec), ill))
    assert "which one was on it?" in what


def test_a_dead_osd_of_a_forgotten_disk_is_not_taken_for_this_disks() -> None:
    """A replacement goes on after its OSD is gone; the OSD of disk 3, which the spec has no more, is down."""
    spec, facts = pool()
    (osd,) = [osd for osd in facts.ceph.osds if is_on("xen2", 2)(osd)]  # type: ignore[union-attr]
    forgotten = change_osds(facts, lambda one: one.id == osd.id, up=False, partition_uuids=(), device="xvde")
    assert osd_removal.find_osd(forgotten, spec.host("xen2"), 2) is None
    unknown = change_osds(forgotten, lambda one: one.id == osd.id, device="")
    found = osd_removal.find_osd(unknown, spec.host("xen2"), 2)
    assert isinstance(found, Osd) and found.id == osd.id


def test_a_replaced_disk_that_comes_back_is_refused() -> None:
    """Its partition has the new one's name, so that the new one's OSD would be taken for the old one's."""
    spec, facts = pool()
    hosts = tuple(
        replace(host, dom0=replace(host.dom0, disks=(*host.dom0.disks, _copy_of(host.dom0.disks[1]))))
        if host.name == "xen2" and host.dom0
        else host
        for host in facts.hosts
    )
    twice = ["/dev/sdb and /dev/sdz of xen2 both have a partition 'shoal-osd-xen2-2'"]
    assert says(plan_replace(replacing(spec), replace(facts, hosts=hosts))) == twice
    assert says(plan_remove(removing(spec), replace(facts, hosts=hosts))) == twice


def _copy_of(disk: Disk) -> Disk:
    return replace(disk, device="/dev/sdz", links=("/dev/disk/by-id/back",))


def test_a_disk_is_added() -> None:
    spec, facts = pool()
    entry = {"device": NEW, "use": "whole-disk"}
    work = Work(
        spec, with_disks(spec, "xen2", *disks_of(spec, "xen2"), entry), FILE, Edit(ADD_DISK, "xen2", NEW, entry), 3
    )
    plan = plan_add(work, facts)
    assert changes(plan) == [
        *("spec_edit/spec", "partition/xen2:3", "passthrough_sr/xen2", "storage_vm/xen2", "ceph_osd/xen2:3"),
    ]
    world = World(work.edited, facts)
    for action in make_plan(work.edited, facts).changes:
        world.do(action)
    assert make_plan(work.edited, world.facts).changes == ()


def test_a_disk_that_has_an_osd_is_not_wiped_under_another_name() -> None:
    spec, facts = pool()
    alias = "/dev/disk/by-id/wwn-0x5002538f"
    entry = {"device": alias, "use": "whole-disk", "wipe": True}
    edited = with_disks(spec, "xen2", *disks_of(spec, "xen2"), entry)
    for known in (by_id("xen2", 1), by_id("xen2", 2)):
        hosts = tuple(with_alias(host, known, alias) if host.name == "xen2" else host for host in facts.hosts)
        plan = plan_add(Work(spec, edited, FILE, Edit(ADD_DISK, "xen2", alias, entry), 3), replace(facts, hosts=hosts))
        assert any("is a disk of the storage VM of xen2 already" in what for what in says(plan)), says(plan)


def with_alias(host: Host, known: str, alias: str) -> Host:
    assert host.dom0
    disks = tuple(
        replace(disk, links=(*disk.links, alias)) if known in disk.links else disk for disk in host.dom0.disks
    )
    return replace(host, dom0=replace(host.dom0, disks=disks))


def test_apply_says_that_an_osd_is_not_in_the_spec_any_more() -> None:
    spec, facts = pool()
    facts = change_osds(facts, is_on("xen2", 2), device="xvdd")
    shorter = with_disks(spec, "xen2", disks_of(spec, "xen2")[0])
    (problem,) = make_plan(shorter, facts).problems
    assert problem.what.endswith("on disk 2 of xen2 is not in the spec any more")
    assert problem.remedy == "shoal disk remove xen2 2, or put the disk back"
    assert find_number(shorter.host("xen2"), facts, by_id("xen2", 2)) == 2


def test_a_disk_is_named_by_its_number_or_by_its_name() -> None:
    spec, _ = pool()
    host = spec.host("xen2")
    assert [find_number(host, None, name) for name in ("1", by_id("xen2", 2), "scsi-SHOAL-xen2-2", "x")] == [
        1,
        2,
        2,
        None,
    ]


@pytest.mark.parametrize(
    ("state", "is_bad"),
    [
        ("active+clean", False),
        ("active+clean+scrubbing+deep", False),
        ("active+undersized+degraded", False),
        ("active+recovery_unfound+degraded", True),
        ("incomplete", True),
        ("stale+active+clean", True),
        ("active+clean+inconsistent", True),
        ("undersized+degraded+peered", True),
    ],
)
def test_states_of_placement_groups(state: str, is_bad: bool) -> None:
    assert is_in_danger(state) is is_bad
