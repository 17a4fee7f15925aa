"""When Ceph may be brought to another image, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shoal.facts import Ceph, Facts, Mon, Osd
from shoal.facts.ceph_upgrade import CephUpgrade, Daemon
from shoal.observe.ceph_upgrade import read_upgrade
from shoal.plan.action import Change
from shoal.plan.ceph_upgrade import is_on, make_plan
from shoal.plan.host_ceph import not_back
from shoal.spec.versions import upgrade_problem
from tests.model.world import make_facts, make_spec

OLD, NEW = "ceph:v18.2.7", "ceph:v19.2.3"
SPEC = make_spec()
CEPH = Ceph(
    "fsid",
    "HEALTH_OK",
    mons=(Mon("a", "10.77.0.21", 6789, True),),
    osds=(Osd(0, "x", True, True),),
    pgs=33,
    clean_pgs=33,
)
FACTS = replace(make_facts(), ceph=CEPH)
SEEN = CephUpgrade(
    daemons=tuple(Daemon(name, OLD, "18.2.7") for name in ("mon.a", "mgr.a", "osd.0")), volume_service_images=(OLD,)
)


def problems(image: str, facts: Facts = FACTS, seen: CephUpgrade | None = SEEN) -> list[str]:
    return [problem.what for problem in make_plan(SPEC, image, facts, seen).problems]


def test_a_healthy_cluster_may_be_upgraded() -> None:
    plan = make_plan(SPEC, NEW, FACTS, SEEN)
    assert plan.problems == ()
    assert [(action.id, action.change) for action in plan.actions] == [
        ("ceph_upgrade/cluster", Change.UPDATE),
        ("volume_services_image/cluster", Change.UPDATE),
    ]
    assert plan.actions[0].reason == f"3 of 3 daemons run {OLD} (18.2.7), wanted {NEW}"


def test_nothing_to_do_when_all_run_it() -> None:
    assert make_plan(SPEC, OLD, FACTS, SEEN).changes == ()


def test_a_volume_service_that_did_not_follow_is_brought_along() -> None:
    left = replace(SEEN, volume_service_images=("ceph:v18.2.6",))
    assert [action.kind for action in make_plan(SPEC, OLD, FACTS, left).changes] == ["volume_services_image"]


def test_the_same_version_under_another_name_is_another_image() -> None:
    assert problems("localhost/ceph:18.2.7-b") == []
    assert len(make_plan(SPEC, "localhost/ceph:18.2.7-b", FACTS, SEEN).changes) == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"health": "HEALTH_ERR", "health_checks": ("1 full osd(s)",)}, "Ceph says HEALTH_ERR: 1 full osd(s)"),
        ({"clean_pgs": 30}, "3 of 33 placement groups are not active and clean"),
        ({"mons": (Mon("a", "10.77.0.21", 6789, False),)}, "monitors out of quorum: a"),
        ({"osds": (Osd(4, "x", False, True),)}, "OSDs that are down: osd.4"),
    ],
)
def test_refused_while_ceph_is_not_well(change: dict[str, object], what: str) -> None:
    facts = replace(FACTS, ceph=replace(CEPH, **change))  # type: ignore[arg-type]
    assert problems(NEW, facts) == [what]


def test_an_id_that_waits_for_a_new_disk_is_not_down() -> None:
    osds = (*CEPH.osds, Osd(4, "shoal-storage-xen2", False, False, destroyed=True))
    ceph = replace(CEPH, osds=osds)
    assert problems(NEW, replace(FACTS, ceph=ceph)) == []
    assert not_back(ceph, "xen2") == ""
    assert "osd.4" in not_back(replace(ceph, osds=(replace(osds[1], destroyed=False),)), "xen2")


def test_refused_while_a_host_is_in_maintenance() -> None:
    assert problems(NEW, seen=replace(SEEN, maintenance=("xen2",))) == ["in maintenance or away: xen2"]


@pytest.mark.parametrize(
    ("image", "what"),
    [
        ("ceph:v17.2.7", "before 18"),
        ("ceph:v18.2.4", "older than 18.2.7"),
        ("ceph:v25.1.0", "not known to this Shoal"),
        ("ceph:latest", "does not tell Ceph's version"),
    ],
)
def test_refused_versions(image: str, what: str) -> None:
    (said,) = problems(image)
    assert what in said


def test_no_more_than_two_releases_at_once() -> None:
    assert "more than two releases" in upgrade_problem((17, 2, 7), (17, 2, 7), (20, 1, 0))
    assert upgrade_problem((18, 2, 7), (18, 2, 7), (20, 1, 0)) == ""


def test_one_that_is_under_way_is_followed_and_no_other_is_begun() -> None:
    rolling = replace(SEEN, in_progress=True, target=NEW, message="1/3 daemons upgraded")
    facts = replace(FACTS, ceph=replace(CEPH, clean_pgs=20))
    assert problems(NEW, facts, rolling) == []
    assert "1/3 daemons upgraded" in make_plan(SPEC, NEW, facts, rolling).actions[0].reason
    assert problems("ceph:v20.1.0", facts, rolling) == [f"an upgrade to {NEW} is under way"]


def test_refused_when_ceph_is_not_seen() -> None:
    assert problems(NEW, replace(FACTS, ceph=None), None) == ["Ceph cannot be seen: there is no cluster"]


def test_a_digest_is_told_by_its_version() -> None:
    assert is_on(Daemon("osd.0", "quay.io/ceph/ceph@sha256:00", "19.2.3"), NEW, "19.2.3")
    assert not is_on(Daemon("osd.0", "quay.io/ceph/ceph@sha256:00", "18.2.7"), NEW, "19.2.3")
    assert not is_on(Daemon("osd.0", OLD, "19.2.3"), NEW, "19.2.3")


def test_the_orchestrators_answers() -> None:
    status = {
        "target_image": NEW,
        "in_progress": True,
        "progress": "1/3 daemons upgraded",
        "message": "",
        "is_paused": False,
    }
    daemons = [
        {
            "daemon_type": "osd",
            "daemon_id": "0",
            "container_image_name": OLD,
            "version": "18.2.7",
            "service_name": "osd",
        },
        {"daemon_type": "mon", "daemon_id": "a", "container_image_name": NEW, "version": None, "service_name": "mon"},
        {
            "daemon_type": "container",
            "daemon_id": "shoal-volumes.a",
            "container_image_name": OLD,
            "service_name": "container.shoal-volumes",
        },
    ]
    hosts = [{"hostname": "a", "status": ""}, {"hostname": "b", "status": "maintenance"}]
    assert read_upgrade(status, daemons, hosts) == CephUpgrade(
        daemons=(Daemon("mon.a", NEW, ""), Daemon("osd.0", OLD, "18.2.7")),
        volume_service_images=(OLD,),
        in_progress=True,
        target=NEW,
        message="1/3 daemons upgraded",
        maintenance=("b",),
    )
