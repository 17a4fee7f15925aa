"""Snapshots against a real Ceph: what librbd says of them, while the disk is held and written to, and in any order."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, new_id, ok, refusal

pytestmark = pytest.mark.ceph
VOLUMES = "pools/rbd/volumes"
SNAPSHOTS = "pools/rbd/snapshots"


@pytest.fixture
def volume(service: Service) -> Iterator[str]:
    made = new_id()
    ok(service.ask("PUT", f"{VOLUMES}/{made}", {"size_bytes": 64 * MIB, "metadata": {"name_label": "disk"}}))
    yield made
    service.ask("DELETE", f"{VOLUMES}/{made}")


def snapshot(service: Service, volume: str, **metadata: str) -> dict[str, Any]:
    body = {"snapshot": new_id(), "metadata": metadata}
    return ok(service.ask("POST", f"{VOLUMES}/{volume}/snapshot", body))


def test_a_snapshot_keeps_the_content_of_its_moment(service: Service, inside: Inside, volume: str) -> None:
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a", 70: "b"})
    made = snapshot(service, volume, name_label="before")
    inside.do("write", image=f"vdi-{volume}", blocks={0: "c"})
    assert made["of"] == volume
    assert made["size_bytes"] == 64 * MIB
    assert made["metadata"] == {"name_label": "before"}
    found = ok(service.ask("GET", f"{SNAPSHOTS}/{made['location']}"))
    assert found == {**made, "image": f"vdi-{volume}", "snap": f"snap-{made['id']}"}
    read = inside.do("read", image=found["image"], snap=found["snap"], blocks=[0, 1, 70])
    assert read == {"0": "a", "1": "", "70": "b"}
    listed = ok(service.ask("GET", VOLUMES))
    assert made in listed["snapshots"]
    assert listed["broken"] == []
    (said,) = json.loads(service.cluster.rbd("snap", "ls", f"rbd/vdi-{volume}", "--format", "json"))
    assert (said["name"], said["size"]) == (f"snap-{made['id']}", 64 * MIB)


def test_a_snapshot_is_made_once(service: Service, volume: str) -> None:
    body = {"snapshot": new_id(), "metadata": {}}
    answers = [ok(service.ask("POST", f"{VOLUMES}/{volume}/snapshot", body)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(json.loads(service.cluster.rbd("snap", "ls", f"rbd/vdi-{volume}", "--format", "json"))) == 1


def test_its_metadata_is_set_changed_and_removed(service: Service, volume: str) -> None:
    made = snapshot(service, volume, name_label="old", type="user")
    path = f"{SNAPSHOTS}/{made['location']}/metadata"
    changed = ok(service.ask("PATCH", path, {"name_label": "nëu", "type": None}))
    assert changed["metadata"] == {"name_label": "nëu"}
    assert ok(service.ask("GET", f"{SNAPSHOTS}/{made['location']}"))["metadata"] == {"name_label": "nëu"}
    assert ok(service.ask("GET", f"{VOLUMES}/{volume}"))["metadata"] == {"name_label": "disk"}


def test_a_held_disk_takes_snapshots_and_grows(service: Service, cluster: Cluster, inside: Inside, volume: str) -> None:
    image = f"vdi-{volume}"
    inside.do("hold", image=image)
    try:
        inside.do("write_held", image=image, blocks={0: "a"})
        made = snapshot(service, volume)
        inside.do("write_held", image=image, blocks={0: "b"})
        assert inside.do("read", image=image, snap=f"snap-{made['id']}", blocks=[0]) == {"0": "a"}
        ok(service.ask("POST", f"{VOLUMES}/{volume}/resize", {"size_bytes": 128 * MIB}))
        assert inside.do("held_size", image=image) == 128 * MIB
        inside.do("write_held", image=image, blocks={1500: "z"})
        assert refusal(service.ask("DELETE", f"{VOLUMES}/{volume}")) == (409, "in_use")
        revert = {"snapshot": made["location"]}
        assert refusal(service.ask("POST", f"{VOLUMES}/{volume}/revert", revert)) == (409, "in_use")
        held = ok(service.ask("GET", f"{VOLUMES}/{volume}/holders"))
        assert held["quorum"] == [cluster.v1_address]
        assert [lock["alive"] for lock in held["locks"]] == [True]
        assert len(held["watchers"]) == 1
        of_snapshot = ok(service.ask("GET", f"{SNAPSHOTS}/{made['location']}/holders"))
        assert of_snapshot["watchers"] == held["watchers"]
    finally:
        inside.do("let_go", image=image)
    assert ok(service.ask("GET", f"{VOLUMES}/{volume}/holders"))["watchers"] == []
    assert inside.do("read", image=image, blocks=[0, 1500]) == {"0": "b", "1500": "z"}


def test_a_snapshot_under_load_is_of_one_moment(service: Service, inside: Inside, volume: str) -> None:
    """The writer counts up over eight objects in turn, each write after the one before was acknowledged.

    In a snapshot of one moment the eight counters are eight numbers that follow each other; and they never change
    again.
    """
    slots, image = 8, f"vdi-{volume}"
    writer = Inside(service.cluster)
    try:
        writer.do("count_up", image=image, slots=slots)
        time.sleep(0.5)
        seen = []
        for _ in range(6):
            made = snapshot(service, volume)
            counters = inside.do("counters", image=image, snap=f"snap-{made['id']}", slots=slots)
            assert max(counters) - min(counters) <= slots - 1 or 0 in counters
            assert sorted(counters) == list(range(max(counters) - slots + 1, max(counters) + 1)) or 0 in counters
            seen.append((made, counters))
        time.sleep(0.5)
        written = writer.do("stop_counting")
        assert written > max(max(counters) for _, counters in seen), "the writer went on"
        for made, counters in seen:
            assert inside.do("counters", image=image, snap=f"snap-{made['id']}", slots=slots) == counters
        latest = [max(counters) for _, counters in seen]
        assert latest == sorted(latest)
        assert latest[0] < latest[-1]
    finally:
        writer.stop()


def test_an_entry_that_nobody_can_read_is_told_and_ends_no_sweep(service: Service, volume: str) -> None:
    made = snapshot(service, volume)
    meta = ("image-meta", "set", f"rbd/vdi-{volume}", f"shoal.snap.{made['id']}")
    service.cluster.rbd(*meta, "[]")
    assert [entry["id"] for entry in ok(service.ask("GET", VOLUMES))["broken"]] == [volume]
    service.sweep()
    service.cluster.rbd(*meta, json.dumps({"of": volume, "made_at": 0, "metadata": {}}))
    assert made in ok(service.ask("GET", VOLUMES))["snapshots"]


def test_a_removed_snapshot_is_gone(service: Service, inside: Inside, volume: str) -> None:
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    made = snapshot(service, volume)
    path = f"{SNAPSHOTS}/{made['location']}"
    assert [ok(service.ask("DELETE", path))["removed"] for _ in range(2)] == [True, False]
    assert refusal(service.ask("GET", path)) == (404, "not_found")
    assert refusal(service.ask("PATCH", f"{path}/metadata", {"name_label": "x"})) == (404, "not_found")
    assert all(entry["id"] != made["id"] for entry in ok(service.ask("GET", VOLUMES))["snapshots"])
    cluster = service.cluster
    cluster.wait_for(
        lambda: json.loads(cluster.rbd("snap", "ls", "--all", f"rbd/vdi-{volume}", "--format", "json")) == [],
        20, "the RBD snapshot to be removed",
    )  # fmt: skip


def test_snapshots_outlive_their_volume(service: Service, inside: Inside, volume: str) -> None:
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    first, second = snapshot(service, volume), snapshot(service, volume)
    assert ok(service.ask("DELETE", f"{VOLUMES}/{volume}"))["removed"] is True
    service.sweep()
    listed = ok(service.ask("GET", VOLUMES))
    assert volume not in [entry["id"] for entry in listed["volumes"]]
    assert first in listed["snapshots"]
    assert second in listed["snapshots"]
    found = ok(service.ask("GET", f"{SNAPSHOTS}/{first['location']}"))
    image_id = first["location"].split("@")[0]
    assert found["image"] == f"base-{image_id}"
    assert inside.do("read", image=found["image"], snap=found["snap"], blocks=[0]) == {"0": "a"}
    for made in (first, second):
        ok(service.ask("DELETE", f"{SNAPSHOTS}/{made['location']}"))
    service.sweep()
    content = inside.do("content")
    assert not [each for each in content["objects"] if image_id in each]
    assert not [each for each in content["objects"] if volume in each]
    assert f"base-{image_id}" not in content["trash"]


def test_a_pool_with_snapshots_is_not_empty(service: Service) -> None:
    sr, made = new_id(), new_id()
    ok(service.ask("PUT", "pools/other/owner", {"sr": sr}))
    ok(service.ask("PUT", f"pools/other/volumes/{made}", {"size_bytes": MIB}))
    body = {"snapshot": new_id(), "metadata": {}}
    location = ok(service.ask("POST", f"pools/other/volumes/{made}/snapshot", body))["location"]
    ok(service.ask("DELETE", f"pools/other/volumes/{made}"))
    assert refusal(service.ask("DELETE", "pools/other/owner", {"sr": sr})) == (409, "not_empty")
    ok(service.ask("DELETE", f"pools/other/snapshots/{location}"))
    ok(service.ask("DELETE", "pools/other/owner", {"sr": sr}))


def test_what_a_person_has_made_stays(service: Service, volume: str) -> None:
    service.cluster.rbd("snap", "create", f"rbd/vdi-{volume}@mine")
    service.cluster.rbd("image-meta", "set", f"rbd/vdi-{volume}", "conf_rbd_cache", "false")
    snapshot(service, volume)
    service.sweep()
    said = json.loads(service.cluster.rbd("snap", "ls", f"rbd/vdi-{volume}", "--format", "json"))
    assert "mine" in [entry["name"] for entry in said]
    assert ok(service.ask("GET", f"{VOLUMES}/{volume}"))["metadata"] == {"name_label": "disk"}
    service.cluster.rbd("snap", "rm", f"rbd/vdi-{volume}@mine")


def test_more_keys_than_one_read_brings(service: Service, volume: str) -> None:
    """Whoever reads a header with many entries reads them all."""
    image_id = json.loads(service.cluster.rbd("info", f"rbd/vdi-{volume}", "--format", "json"))["id"]
    program = (
        "import rados; c = rados.Rados(rados_id='admin', conffile='/scratch/ceph.conf',"
        " conf={'keyring': '/scratch/admin.keyring'}); c.connect(); io = c.open_ioctx('rbd')\n"
        "with rados.WriteOpCtx() as op:\n"
        "    keys = tuple(f'metadata_shoal.key_{n:04}' for n in range(1500))\n"
        "    io.set_omap(op, keys, tuple(b'x' for _ in keys)); io.operate_write_op(op, 'rbd_header.' + "
        f"{image_id!r})\n"
    )
    service.cluster.run("python3", "-c", program)
    found = ok(service.ask("GET", f"{VOLUMES}/{volume}"))
    assert len(found["metadata"]) == 1501
    assert found["size_bytes"] == 64 * MIB


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{SNAPSHOTS}/abc", None),
        ("GET", f"{SNAPSHOTS}/a.b@{uuid.uuid4()}", None),
        ("GET", f"{SNAPSHOTS}/abc@{'A' * 36}", None),
        ("POST", f"{VOLUMES}/{uuid.uuid4()}/snapshot", {"snapshot": "x"}),
        ("POST", f"{VOLUMES}/{uuid.uuid4()}/revert", {"snapshot": str(uuid.uuid4())}),
        ("PUT", f"{VOLUMES}/{uuid.uuid4()}", {"source": 1}),
        ("PUT", f"{VOLUMES}/{uuid.uuid4()}", {"size_bytes": 1, "data_pool": "a/b"}),
        ("POST", "pools/rbd/changes", {"to": None}),
    ],
)
def test_bad_requests_are_refused(service: Service, method: str, path: str, body: Any) -> None:
    assert refusal(service.ask(method, path, body)) == (400, "bad_request")


def test_what_is_not_there_is_said(service: Service) -> None:
    nowhere = f"abc@{new_id()}"
    for method, path, body in (
        ("GET", f"{SNAPSHOTS}/{nowhere}", None),
        ("GET", f"{SNAPSHOTS}/{nowhere}/holders", None),
        ("POST", f"{VOLUMES}/{new_id()}/snapshot", {"snapshot": new_id()}),
        ("PUT", f"{VOLUMES}/{new_id()}", {"source": nowhere}),
        ("PUT", f"{VOLUMES}/{new_id()}", {"source": new_id()}),
        ("POST", "pools/rbd/changes", {"from": None, "to": new_id()}),
        ("GET", f"pools/rbd/usage/{nowhere}", None),
        ("PUT", f"{VOLUMES}/{new_id()}", {"size_bytes": MIB, "data_pool": "nowhere"}),
    ):
        assert refusal(service.ask(method, path, body)) == (404, "not_found"), path
    assert ok(service.ask("DELETE", f"{SNAPSHOTS}/{nowhere}"))["removed"] is False
