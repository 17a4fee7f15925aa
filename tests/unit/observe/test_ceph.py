"""Ceph's answers, recorded from a real 18.2.7, become facts; anything else is told."""

from __future__ import annotations

import contextlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shoal.observe
from shoal.facts import CephHost, CephImage
from shoal.kit.errors import ShoalError
from shoal.observe.ceph import read_ceph
from tests.unit.observe.answers import JSON, Place, places, with_value

DATA = Path(__file__).parent / "data"
RECORDED = json.loads((DATA / "ceph-18.2.7-small.json").read_text())  # one of each daemon, no cephadm
LAB = json.loads((DATA / "ceph-18.2.7-lab.json").read_text())  # what an apply in the lab leaves
HOSTS = [{"hostname": "shoal-storage-xen1", "addr": "10.77.0.21", "labels": ["_admin"], "status": ""}]
SERVICES = [
    {"service_name": "mon", "service_type": "mon", "status": {"running": 3, "size": 3}},
    {"service_name": "container.shoal-volumes", "service_type": "container", "status": {"running": 2, "size": 3}},
    {"service_name": "osd", "service_type": "osd", "status": {"size": 0}},
]
IMAGES = {"lvm/lvm-a": {"size_bytes": 1 << 42, "features": ["layering"]}}
GOOD: dict[str, Any] = {**RECORDED, "orch host ls": HOSTS, "orch ls": SERVICES, "images": IMAGES, "errors": {}}


def test_a_recorded_answer_becomes_facts() -> None:
    ceph = read_ceph(GOOD, "", {})
    assert ceph is not None
    assert ceph.health == "HEALTH_WARN"
    assert "13 mgr modules have failed dependencies" in ceph.health_checks
    assert ceph.hosts == (CephHost("shoal-storage-xen1", "10.77.0.21", ("_admin",), ""),)
    assert ceph.services == {"mon": 3, "container.shoal-volumes": 2, "osd": 0}
    assert (ceph.pgs, ceph.clean_pgs) == (16, 0)
    assert ceph.images == {"lvm/lvm-a": CephImage(1 << 42, ("layering",))}
    assert ceph.mons[0].v1_port == 52647
    assert ceph.unreachable == ""


def test_a_whole_cluster_becomes_facts() -> None:
    loops = {row["hostname"]: {row["devices"]: "xvdc"} for row in LAB["osd metadata"]}
    ceph = read_ceph(LAB, "", loops)
    assert ceph is not None
    names = ["shoal-storage-xen1", "shoal-storage-xen2", "shoal-storage-xen3"]
    assert (ceph.health, ceph.unreachable) == ("HEALTH_OK", "")
    assert [mon.name for mon in ceph.mons if mon.in_quorum and mon.v1_port == 6789] == names
    assert sorted(mgr.host for mgr in ceph.mgrs) == names[:2]
    assert [mgr.active for mgr in ceph.mgrs].count(True) == 1
    assert sorted(host.name for host in ceph.hosts) == names
    assert sorted((osd.host, osd.device, osd.up, osd.in_cluster) for osd in ceph.osds) == [
        (name, "xvdc", True, True) for name in names
    ]
    assert ("rbd", 3, 2, ("rbd",)) in [(p.name, p.size, p.min_size, p.applications) for p in ceph.pools]
    assert ceph.users["client.shoal-xen"]["osd"] == "profile rbd pool=rbd"
    assert ceph.settings["osd/osd_memory_target_autotune"] == "false"
    assert ceph.services["container.shoal-volumes"] == 3
    assert ceph.clean_pgs == ceph.pgs > 0
    assert len(ceph.certificate_authority) == 64


def test_a_disk_is_named_as_the_storage_vm_knows_it() -> None:
    metadata = [{**RECORDED["osd metadata"][0], "hostname": "shoal-storage-xen1", "devices": "loop7"}]
    ceph = read_ceph({**GOOD, "osd metadata": metadata}, "", {"shoal-storage-xen1": {"loop7": "xvdc"}})
    assert ceph is not None
    assert (ceph.osds[0].host, ceph.osds[0].device) == ("shoal-storage-xen1", "xvdc")
    ceph = read_ceph({**GOOD, "osd metadata": metadata}, "", {})
    assert ceph is not None
    assert ceph.osds[0].device == "loop7"


def test_a_manager_that_is_silent_is_said_and_the_rest_is_kept() -> None:
    answer = {key: value for key, value in GOOD.items() if not key.startswith("orch")}
    ceph = read_ceph({**answer, "errors": {"time": "no answer within 8 s"}}, "", {})
    assert ceph is not None
    assert ceph.unreachable == "time: no answer within 8 s"
    assert len(ceph.osds) == 1


def test_a_half_made_cluster_is_none() -> None:
    answer = {**GOOD, "osd dump": {**GOOD["osd dump"], "osds": []}, "osd metadata": []}
    del answer["orch host ls"], answer["orch ls"]
    assert read_ceph({**answer, "errors": {"orch host ls": "error -2: No orchestrator configured"}}, "f", {}) is None
    assert read_ceph({**answer, "orch host ls": HOSTS, "orch ls": SERVICES}, "f", {}) is not None


def test_no_answer_at_all_is_unreachable_and_not_empty() -> None:
    ceph = read_ceph({"errors": {"connect": "[errno 110] RADOS timed out"}}, "f", {})
    assert ceph is not None
    assert (ceph.fsid, ceph.unreachable) == ("f", "connect: [errno 110] RADOS timed out")


def test_masked_settings_keep_their_mask() -> None:
    rows = [{"section": "osd", "mask": "class:ssd", "name": "a", "value": "1"}]
    ceph = read_ceph({**GOOD, "config dump": rows}, "", {})
    assert ceph is not None
    assert ceph.settings == {"osd/class:ssd/a": "1"}


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    return runpy.run_path(str(Path(shoal.observe.__file__).with_name("ceph_probe.py")))


def test_keys_and_passwords_never_leave_the_monitor(probe: dict[str, Any]) -> None:
    listed = {"auth_dump": [{"entity": "client.admin", "key": "s3cret", "caps": {"mon": "allow *"}}]}
    assert probe["without_keys"](json.dumps(listed).encode()) == {"client.admin": {"mon": "allow *"}}
    rows = [{"name": "mgr/dashboard/ssl_key", "value": "s3cret"}, {"name": "osd_heartbeat_grace", "value": "10"}]
    assert [row["value"] for row in probe["hide"](rows)] == ["", "10"]


def test_no_certificate_yet_is_no_error(probe: dict[str, Any]) -> None:
    answers, errors = dict[str, object](), dict[str, str]()
    probe["keep"](answers, errors, "ca", (-2, b"", "not found"), probe["digest"])
    probe["keep"](answers, errors, "df", (-13, b"", "denied"))
    assert (answers, errors) == ({"ca": ""}, {"df": "error -13: denied"})


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(list(places(LAB))), JSON)
def test_any_wrong_value_is_told_and_never_a_bug(at: Place, wrong: object) -> None:
    with contextlib.suppress(ShoalError):
        read_ceph(with_value(LAB, at, wrong), "", {})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "x"]), JSON, max_size=6))
def test_any_object_is_read_or_told(answer: dict[str, object]) -> None:
    with contextlib.suppress(ShoalError):
        read_ceph(answer, "", {})
