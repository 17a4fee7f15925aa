"""What failover rests on, against a real Ceph: who may write to a disk, shutting it out, locks that end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shoal.plan.ceph_settings import BASE
from shoal.plan.found import same_value
from tests.ceph.certificates import Authority
from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside, Refused
from tests.ceph.service import Service
from volumes.tests.calls import Calls, new_id, ok, refusal

pytestmark = pytest.mark.ceph


@pytest.fixture
def calls(service: Service) -> Calls:
    return Calls(service)


@pytest.fixture
def host(cluster: Cluster) -> Iterator[Inside]:
    """A client of its own: it will be shut out."""
    dialog = Inside(cluster)
    yield dialog
    dialog.stop()


def test_a_fenced_client_writes_no_more_and_another_takes_its_disk(calls: Calls, host: Inside, inside: Inside) -> None:
    volume, free = new_id(), new_id()
    calls.create(volume)
    calls.create(free)
    host.do("hold", image=f"vdi-{volume}")
    host.do("write_held", image=f"vdi-{volume}", blocks={"0": "a"})
    (owner,) = [each for each in ok(calls.ask("GET", "holders"))["holders"] if volume in each["image"]]
    (lock,) = ok(calls.ask("GET", f"volumes/{volume}/holders"))["locks"]
    assert (owner["image"], owner["client"]) == (f"vdi-{volume}", lock["client"])
    assert lock["address"].endswith(owner["address"])
    assert owner["address"] not in ok(calls.ask("GET", "fences"))["addresses"]

    fenced = ok(calls.ask("POST", "fences", {"addresses": [owner["address"]]}))
    assert ok(calls.ask("POST", "fences", {"addresses": [owner["address"]]}))["epoch"] >= fenced["epoch"] > 0
    assert owner["address"] in ok(calls.ask("GET", "fences"))["addresses"]
    with pytest.raises(Refused):
        host.do("write_held", image=f"vdi-{volume}", blocks={"0": "b"})
    inside.do("hold", image=f"vdi-{volume}")
    inside.do("write_held", image=f"vdi-{volume}", blocks={"1": "c"})
    inside.do("let_go", image=f"vdi-{volume}")
    assert inside.do("read", image=f"vdi-{volume}", blocks=[0, 1]) == {"0": "a", "1": "c"}
    calls.delete(volume)
    calls.delete(free)


def test_a_kernel_that_breaks_the_lock_does_not_shorten_the_fence(calls: Calls, cluster: Cluster) -> None:
    client = "192.0.2.9:0/4711"
    for name, value in BASE.items():
        section, _, option = name.partition("/")
        cluster.ceph("config", "set", section, option, value)
        found = [row for row in json.loads(cluster.ceph("config", "dump", "-f", "json")) if row["name"] == option]
        assert [(row["section"], same_value(row["value"], value)) for row in found] == [(section, True)]
    ok(calls.ask("POST", "fences", {"addresses": [client]}))
    cluster.ceph("osd", "blocklist", "add", client)  # as krbd has it done: with no time
    ends = json.loads(cluster.ceph("osd", "dump", "-f", "json"))["blocklist"][client]
    assert datetime.fromisoformat(ends) - datetime.now(UTC) > timedelta(days=360)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "192.0.2.0/24", "192.0.2.1:0", "192.0.2.1:0/0", "192.0.2.1:0/4294967296", "x:0/1", 7]
)
def test_no_more_than_a_client_can_be_fenced(calls: Calls, address: object) -> None:
    assert refusal(calls.ask("POST", "fences", {"addresses": [address]})) == (400, "bad_request")


def test_a_lock_is_its_owners_at_any_service_until_it_ends(
    calls: Calls, inside: Inside, cluster: Cluster, client_files: Path, authority: Authority
) -> None:
    one, other = new_id(), new_id()
    path = f"locks/{one}"
    second = Service(cluster, client_files, authority)
    second.start()
    elsewhere = Calls(second)
    try:
        assert ok(calls.ask("PUT", path, {"owner": one, "ttl_s": 30}))["owner"] == one
        assert ok(elsewhere.ask("PUT", path, {"owner": one, "ttl_s": 30}))["owner"] == one
        assert ok(calls.ask("PUT", path, {"owner": one, "ttl_s": 30}))["owner"] == one
        status, answer = calls.ask("PUT", path, {"owner": other, "ttl_s": 30})
        assert (status, answer["error"]["code"], answer["error"]["detail"]["owner"]) == (409, "held", one)
        assert 0 < answer["error"]["detail"]["remaining_s"] <= 31
        assert ok(elsewhere.ask("DELETE", path, {"owner": other}))["owner"] == one
        assert ok(elsewhere.ask("DELETE", path, {"owner": one})) == {"owner": None}
        assert ok(calls.ask("PUT", path, {"owner": other, "ttl_s": 1}))["owner"] == other
        assert calls.ask("PUT", path, {"owner": one, "ttl_s": 30})[0] == 409
        time.sleep(1.2)
        assert ok(elsewhere.ask("PUT", path, {"owner": one, "ttl_s": 30}))["owner"] == one
    finally:
        second.kill()
    inside.do("remove_object", object=f"shoal.lock.{one}")


def test_members_are_named_by_their_machine(service: Service) -> None:
    members = ok(service.ask("GET", "members"))
    assert members["monitors"] == [{"name": "a", "in_quorum": True}]
    assert [(osd["id"], osd["up"]) for osd in members["osds"]] == [(0, True)] and members["osds"][0]["host"]
