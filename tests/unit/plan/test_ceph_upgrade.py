"""When Ceph may be brought to another image, and why not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from shoal.facts import Ceph, Facts, Mgr, Mon, Osd
from shoal.facts.ceph_upgrade import CephUpgrade, Copy, Daemon, Image
from shoal.observe.ceph_upgrade import read_image, read_upgrade
from shoal.plan.action import Change, Plan
from shoal.plan.ceph_upgrade import BY_DIGEST, is_on, make_plan
from shoal.plan.host_ceph import not_back
from shoal.spec.versions import upgrade_problem
from tests.model.world import make_facts, make_spec

OLD, NEW = "ceph:v18.2.7", "ceph:v19.2.3"
FILE = Path("shoal.yaml")
CEPH = Ceph(
    "fsid",
    "HEALTH_OK",
    mons=(Mon("a", "10.77.0.21", 6789, True),),
    mgrs=(Mgr("a", "a", True), Mgr("b", "b", False)),
    osds=(Osd(0, "x", True, True),),
    settings={BY_DIGEST: "false"},
    pgs=33,
    clean_pgs=33,
)
FACTS = replace(make_facts(), ceph=CEPH)
SEEN = CephUpgrade(
    daemons=tuple(Daemon(name, OLD, "18.2.7") for name in ("mon.a", "mgr.a", "osd.0")), volume_service_images=(OLD,)
)


DIGEST, OLD_DIGEST = "quay.io/ceph/ceph@sha256:11", "quay.io/ceph/ceph@sha256:00"
PULLED = tuple(Daemon(name, OLD_DIGEST, "18.2.7", (OLD_DIGEST,)) for name in ("mon.a", "mgr.a", "osd.0"))
BY_DIGESTS = replace(FACTS, ceph=replace(CEPH, settings={}))


def plan(image: str, facts: Facts = FACTS, seen: CephUpgrade | None = SEEN, in_spec: str = "") -> Plan:
    """The spec names the image already, unless it is said to name another."""
    spec = make_spec()
    spec = spec.model_copy(update={"ceph": spec.ceph.model_copy(update={"image": in_spec or image})})
    return make_plan(spec, FILE, image, facts, seen)


def problems(image: str, facts: Facts = FACTS, seen: CephUpgrade | None = SEEN) -> list[str]:
    return [problem.what for problem in plan(image, facts, seen).problems]


def test_a_healthy_cluster_may_be_upgraded() -> None:
    made = plan(NEW)
    assert made.problems == ()
    assert [(action.id, action.change) for action in made.actions] == [
        ("ceph_upgrade/cluster", Change.UPDATE),
        ("volume_services_image/cluster", Change.UPDATE),
        ("spec_edit/spec", Change.NONE),
    ]
    assert made.actions[0].reason == f"3 of 3 daemons run {OLD} (18.2.7), wanted {NEW}"


def test_nothing_to_do_when_all_run_it() -> None:
    assert plan(OLD).changes == ()


def test_the_spec_learns_of_another_image_once_ceph_runs_it() -> None:
    *_, edit = plan(NEW, in_spec=OLD).actions
    assert (edit.change, edit.needs) == (Change.UPDATE, frozenset({"ceph_upgrade/cluster"}))
    assert edit.settings["edit"] == {"what": "set Ceph's image", "host": "", "device": "", "entry": {"image": NEW}}
    assert [action.kind for action in plan(OLD, in_spec=NEW).changes] == ["spec_edit"]


@pytest.mark.parametrize(
    ("image", "version", "written"),
    [
        ("ceph:latest", "19.2.3", {"version": "19.2.3"}),
        ("rhceph/rhceph-7-rhel9:7-512", "18.2.7-194.el9cp", {"version": "18.2.7-194.el9cp"}),
        ("ceph:20240612", "19.2.3", {"version": "19.2.3"}),
        ("ceph:v19", "19.2.3", {}),
        ("ceph:latest", "", {}),
    ],
)
def test_the_spec_is_told_the_version_that_the_images_name_does_not_tell(
    image: str, version: str, written: dict[str, str]
) -> None:
    *_, edit = plan(image, seen=replace(SEEN, wanted=Image(version)), in_spec=OLD).actions
    assert edit.settings["edit"]["entry"] == {"image": image, **written}  # type: ignore[index]


def test_a_volume_service_that_did_not_follow_is_brought_along() -> None:
    left = replace(SEEN, volume_service_images=("ceph:v18.2.6",))
    assert [action.kind for action in plan(OLD, seen=left).changes] == ["volume_services_image"]


def test_the_same_version_under_another_name_is_another_image() -> None:
    assert problems("localhost/ceph:18.2.7-b") == []
    assert len(plan("localhost/ceph:18.2.7-b").changes) == 2


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"health": "HEALTH_ERR", "health_checks": ("1 full osd(s)",)}, "Ceph says HEALTH_ERR: 1 full osd(s)"),
        ({"clean_pgs": 30}, "3 of 33 placement groups are not active and clean"),
        ({"mons": (Mon("a", "10.77.0.21", 6789, False),)}, "monitors out of quorum: a"),
        ({"osds": (Osd(4, "x", False, True),)}, "OSDs that are down: osd.4"),
        ({"mgrs": (Mgr("a", "a", True),)}, "1 manager runs; cephadm replaces managers while another works"),
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
    assert "1/3 daemons upgraded" in plan(NEW, facts, rolling).actions[0].reason
    assert problems("ceph:v20.1.0", facts, rolling) == [f"an upgrade to {NEW} is under way"]


def test_refused_when_ceph_is_not_seen() -> None:
    assert problems(NEW, replace(FACTS, ceph=None), None) == ["Ceph cannot be seen: there is no cluster"]


def test_an_image_is_told_as_cephadm_tells_it() -> None:
    assert is_on(Daemon("osd.0", DIGEST, "19.2.3", (DIGEST,)), NEW, DIGEST)
    assert not is_on(PULLED[0], NEW, DIGEST)
    assert not is_on(Daemon("osd.0", DIGEST, "19.2.3", (DIGEST,)), NEW, "")  # by names: it was pulled by another
    assert is_on(Daemon("osd.0", NEW, "18.2.7"), NEW, "")


def test_the_same_version_built_anew_is_told_by_its_digest() -> None:
    seen = CephUpgrade(PULLED, (OLD,), wanted=Image("18.2.7", OLD_DIGEST))
    assert plan(OLD, BY_DIGESTS, seen).changes == ()
    anew = replace(seen, wanted=Image("18.2.7", DIGEST))
    assert plan(OLD, BY_DIGESTS, anew).problems == ()
    assert [action.kind for action in plan(OLD, BY_DIGESTS, anew).changes] == ["ceph_upgrade", "volume_services_image"]


def test_an_image_without_a_digest_is_refused_where_cephadm_goes_by_digests() -> None:
    (said,) = problems(NEW, BY_DIGESTS, replace(SEEN, wanted=Image("19.2.3")))
    assert "has no digest" in said


def test_an_upgrade_to_a_digest_is_followed() -> None:
    rolling = CephUpgrade(PULLED, (OLD,), in_progress=True, target=DIGEST, wanted=Image("19.2.3", DIGEST))
    assert problems(NEW, BY_DIGESTS, rolling) == []
    other = replace(rolling, wanted=Image("19.2.3", OLD_DIGEST))
    assert problems(NEW, BY_DIGESTS, other) == [f"an upgrade to {DIGEST} is under way"]
    silent = replace(rolling, wanted=Image(refusal="no active mgr"))
    assert problems(NEW, BY_DIGESTS, silent) == [f"cephadm cannot say now what {NEW} is: no active mgr"]


@pytest.mark.parametrize(
    ("copies", "what"),
    [
        ((Copy("xen1", "sha256:aa"), Copy("xen2", "sha256:aa")), ""),
        ((Copy("xen1"), Copy("xen2")), ""),  # pulled by cephadm
        ((Copy("xen1", "sha256:aa", has_digest=True), Copy("xen2")), ""),
        ((Copy("xen1", "sha256:aa"), Copy("xen2")), "is not in the storage VMs of xen2"),
        ((Copy("xen1", "sha256:aa"), Copy("xen2", "sha256:bb")), "aa on xen1, bb on xen2"),
        ((Copy("xen1", unseen="no answer"),), "the storage VM of xen1 cannot be asked for the image: no answer"),
    ],
)
def test_an_image_that_was_loaded_must_be_the_same_everywhere(copies: tuple[Copy, ...], what: str) -> None:
    said = problems(NEW, seen=replace(SEEN, wanted=Image("19.2.3", copies=copies)))
    assert [what in text for text in said] == ([True] if what else [])


def test_what_the_program_in_the_image_says_counts() -> None:
    (said,) = problems(NEW, seen=replace(SEEN, wanted=Image("18.2.4")))
    assert said == f"{NEW} is Ceph 18.2.4: it is older than 18.2.7, which runs already; Ceph cannot go back"
    (said,) = problems(NEW, seen=replace(SEEN, wanted=Image(refusal="Incompatible upgrade: too big a jump")))
    assert said == f"cephadm does not take {NEW}: Incompatible upgrade: too big a jump"


def test_the_orchestrators_look_at_an_image() -> None:
    copies = (Copy("xen1"),)
    said = json.dumps({"target_version": "ceph version 19.2.3 (c1) squid (stable)", "target_digest": DIGEST})
    assert read_image(said, copies) == Image("19.2.3", DIGEST, copies=copies)
    assert read_image('{"target_version": "ceph version 18.2.7 (c1) reef (stable)"}', ()) == Image("18.2.7")
    assert read_image("Incompatible upgrade: it is old\n", ()) == Image(refusal="Incompatible upgrade: it is old")


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
            "container_image_digests": [DIGEST, ""],
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
        daemons=(Daemon("mon.a", NEW, ""), Daemon("osd.0", OLD, "18.2.7", (DIGEST,))),
        volume_service_images=(OLD,),
        in_progress=True,
        target=NEW,
        message="1/3 daemons upgraded",
        maintenance=("b",),
    )
