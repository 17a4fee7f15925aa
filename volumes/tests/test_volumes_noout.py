"""A machine's OSDs are kept in the cluster for a while, in a real Ceph: with an end, and nobody else's flag touched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import Calls, new_id, ok, refusal

pytestmark = pytest.mark.ceph


@pytest.fixture
def calls(service: Service) -> Calls:
    return Calls(service)


@pytest.fixture
def machine(calls: Calls, service: Service, cluster: Cluster) -> Iterator[str]:
    (osd,) = ok(service.ask("GET", "members"))["osds"]
    yield osd["host"]
    ok(calls.ask("DELETE", f"noout/{osd['host']}"))
    cluster.ceph("osd", "unset-group", "noout", osd["host"])


def flags(cluster: Cluster) -> dict[str, list[str]]:
    return dict(json.loads(cluster.ceph("osd", "dump", "-f", "json"))["crush_node_flags"])


def test_it_is_set_and_taken_back(calls: Calls, machine: str, cluster: Cluster) -> None:
    for _ in range(2):
        assert ok(calls.ask("PUT", f"noout/{machine}", {"ttl_s": 600}))["held"]
        assert flags(cluster) == {machine: ["noout"]}
    assert ok(calls.ask("DELETE", f"noout/{machine}"))["released"] and flags(cluster) == {}
    assert not ok(calls.ask("DELETE", f"noout/{machine}"))["released"]


def test_somebody_elses_stays(calls: Calls, machine: str, cluster: Cluster) -> None:
    cluster.ceph("osd", "set-group", "noout", machine)
    assert not ok(calls.ask("PUT", f"noout/{machine}", {"ttl_s": 1}))["held"]
    assert not ok(calls.ask("DELETE", f"noout/{machine}"))["released"]
    assert flags(cluster) == {machine: ["noout"]}


def test_it_ends_by_itself(calls: Calls, machine: str, cluster: Cluster) -> None:
    ok(calls.ask("PUT", f"noout/{machine}", {"ttl_s": 1}))
    time.sleep(1.5)
    volume = new_id()
    calls.create(volume)
    calls.delete(volume)  # wakes the sweep, which comes once a minute else
    cluster.wait_for(lambda: flags(cluster) == {}, 20, "the flag to be taken back")


def test_a_machine_that_ceph_knows_no_more_is_forgotten(calls: Calls, cluster: Cluster) -> None:
    assert refusal(calls.ask("PUT", "noout/a-stranger", {"ttl_s": 60})) == (502, "ceph_failed")
    assert not ok(calls.ask("DELETE", "noout/a-stranger"))["released"]
    rados = ("rados", "-c", "/scratch/ceph.conf", "-k", "/scratch/admin.keyring", "-p", "rbd")
    cluster.run(*rados, "setomapval", "shoal.noout", "a-stranger", "1")
    assert ok(calls.ask("DELETE", "noout/a-stranger"))["released"]


@pytest.mark.parametrize("odd", ["soon", "nan"])
def test_a_record_that_nobody_can_read_is_over(calls: Calls, machine: str, cluster: Cluster, odd: str) -> None:
    ok(calls.ask("PUT", f"noout/{machine}", {"ttl_s": 600}))
    rados = ("rados", "-c", "/scratch/ceph.conf", "-k", "/scratch/admin.keyring", "-p", "rbd")
    cluster.run(*rados, "setomapval", "shoal.noout", machine, odd)
    volume = new_id()
    calls.create(volume)
    calls.delete(volume)  # wakes the sweep
    cluster.wait_for(lambda: flags(cluster) == {}, 20, "the flag to be taken back")


def test_the_services_user_may_set_no_other_flag(cluster: Cluster, machine: str) -> None:
    def order(*words: str) -> str:
        user = ("--id", "shoal-volumes", "-k", "/scratch/shoal-volumes.keyring")
        return cluster.run("ceph", "-c", "/scratch/ceph.conf", *user, *words)

    order("osd", "set-group", "noout", machine)
    order("osd", "unset-group", "noout", machine)
    for words in (("osd", "set-group", "noup", machine), ("osd", "set", "noout"), ("osd", "out", "0")):
        with pytest.raises(Exception, match="EACCES|access denied"):
            order(*words)
    assert flags(cluster) == {}


def test_odd_requests_are_refused(calls: Calls) -> None:
    assert refusal(calls.ask("PUT", "noout/a%20b", {"ttl_s": 1})) == (400, "bad_request")
    assert refusal(calls.ask("PUT", "noout/a", {"ttl_s": 0})) == (400, "bad_request")


def test_to_ask_for_a_lock_takes_it_from_nobody(calls: Calls, inside: Inside) -> None:
    lock, owner = new_id(), new_id()
    name = f"locks/{lock}"
    assert ok(calls.ask("GET", name)) == {"owner": None}
    ok(calls.ask("PUT", name, {"owner": owner, "ttl_s": 60}))
    assert [ok(calls.ask("GET", name))["owner"] for _ in range(2)] == [owner] * 2
    ok(calls.ask("DELETE", name, {"owner": owner}))
    inside.do("remove_object", object=f"shoal.lock.{lock}")
