"""The container service as a process, beside a small Docker and a small systemctl: what it tells, and whom it obeys."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ceph.certificates import Authority
from volumes.containers import daemons
from volumes.containers.listing import read_status
from volumes.tests.container_machine import FSID, Machine

LIST = "/v1/containers"
READS = {"GET /containers/json?all=1", "GET /info", "GET /version"}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, Authority.make(), "xen1") as made:
        yield made
        assert set(made.asked) <= READS, "Docker is only ever read"


def statuses(machine: Machine) -> dict[str, str]:
    return {one["names"]: one["status"] for one in machine.ask("GET", LIST)[1]["docker_ps"]}


def test_cephs_containers_and_docker_are_told_in_the_words_of_the_keys(machine: Machine) -> None:
    status, answer = machine.ask("GET", LIST)
    assert status == 200
    assert [one["names"] for one in answer["docker_ps"]] == sorted(map(machine.name, machine.units))
    (osd,) = [one for one in answer["docker_ps"] if one["names"] == f"ceph-{FSID}-osd-0"]
    assert re.fullmatch("[0-9a-f]{64}", osd["id"])
    assert osd == {
        "id": osd["id"],
        "names": f"ceph-{FSID}-osd-0",
        "image": "quay.io/ceph/ceph:v18",
        "command": "/usr/bin/ceph-osd -n it",
        "created": 1700000000,
        "status": "Up",
        "ports": [],
        "container": osd["id"][:10],
    }
    assert answer["docker_version"] == {"Version": "26.1.5", "ApiVersion": "1.45", "GitCommit": "411e817"}
    assert answer["docker_info"] == {
        "ID": "an id", "Driver": "overlay2", "NCPU": 2, "IPv4Forwarding": True,
        "Containers": 4, "ContainersRunning": 4, "ContainersPaused": 0, "ContainersStopped": 0,
    }  # fmt: skip


def test_nothing_is_news_while_nothing_happens(machine: Machine) -> None:
    first = machine.ask("GET", LIST)
    passing = {"Id": "c" * 64, "Names": ["/funny_name"], "Status": "Up 1 second"}
    machine.extra = [passing, {"Id": "d" * 64, "Names": [f"/ceph-{FSID}-check"]}, {"Names": None}]
    assert machine.ask("GET", LIST) == first


def test_a_container_is_restarted_by_its_name_and_by_its_ids(machine: Machine) -> None:
    for called in ("names", "id", "container"):
        (osd,) = [one for one in machine.ask("GET", LIST)[1]["docker_ps"] if one["names"] == machine.name("osd")]
        answer = machine.ask("POST", f"{LIST}/{osd[called]}/restart")
        assert answer == (200, {"container": osd["names"], "unit": machine.units["osd"]})
    assert machine.done() == [f"restart {machine.units['osd']}"] * 3


def test_a_stopped_one_is_still_there_to_be_started(machine: Machine) -> None:
    name = machine.name("mgr")
    assert machine.ask("POST", f"{LIST}/{name}/stop")[0] == 200
    answer = machine.ask("GET", LIST)[1]
    (gone,) = [one for one in answer["docker_ps"] if one["names"] == name]
    assert gone["status"] == "Exited (143)"
    assert answer["docker_info"]["ContainersStopped"] == 1
    assert machine.ask("GET", LIST)[1] == answer
    assert machine.ask("POST", f"{LIST}/{gone['container']}/start")[0] == 200
    assert statuses(machine)[name] == "Up"
    assert machine.done() == [f"stop {machine.units['mgr']}", f"start {machine.units['mgr']}"]


def test_one_that_does_not_come_up_is_an_error(machine: Machine) -> None:
    name = machine.name("osd")
    machine.ask("POST", f"{LIST}/{name}/stop")
    (machine.folder / "broken").touch()
    status, answer = machine.ask("POST", f"{LIST}/{name}/start")
    assert (status, answer["error"]["code"]) == (504, "not_up")
    assert f"{name} is Exited (143) 1 s after its start" in answer["error"]["message"]


REFUSED = (
    ("POST", f"{LIST}/funny_name/restart", 404),  # it runs, and is none of Ceph's
    ("POST", f"{LIST}/ceph-{FSID}@osd.0.service/restart", 400),
    ("POST", f"{LIST}/--help/restart", 400),
    ("POST", f"{LIST}/a;reboot/restart", 400),
    ("POST", f"{LIST}/$(reboot)/restart", 400),
    ("POST", f"{LIST}/%2e%2e/restart", 400),
    ("POST", f"{LIST}/ceph/restart", 404),
    ("POST", f"{LIST}/{'a' * 200}/restart", 400),
    ("POST", f"{LIST}//restart", 400),
    ("POST", f"{LIST}/ceph-{FSID}-osd-0/pause", 404),
    ("POST", f"{LIST}/ceph-{FSID}-osd-0/kill", 404),
    ("GET", f"{LIST}/ceph-{FSID}-osd-0/restart", 404),
    ("DELETE", f"{LIST}/ceph-{FSID}-osd-0", 404),
    ("GET", "/v1/status", 404),
)


def test_anything_else_is_refused(machine: Machine) -> None:
    machine.extra = [{"Id": "c" * 64, "Names": ["/funny_name"], "Status": "Up 1 second"}]
    for method, target, status in REFUSED:
        assert (method, target, machine.ask(method, target)[0]) == (method, target, status)
    assert machine.done() == []


def test_only_its_own_hosts_dom0_may_ask(machine: Machine) -> None:
    target = f"{LIST}/{machine.name('osd')}/stop"
    status, answer = machine.ask("POST", target, who="xen2")
    assert (status, answer["error"]["code"]) == (403, "forbidden")
    for who in ("", "server"):  # no certificate, and one that is a server's
        with pytest.raises((ssl.SSLError, ConnectionError)):
            machine.ask("POST", target, who=who)
    assert machine.done() == [] and machine.asked == []


def test_docker_that_does_not_answer_is_told_of(machine: Machine) -> None:
    (machine.folder / "docker.sock").unlink()
    status, answer = machine.ask("GET", LIST)
    assert (status, answer["error"]["code"]) == (503, "docker_away")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Up 3 hours", "Up"),
        ("Up 2 days (healthy)", "Up"),
        ("Up 5 minutes (Paused)", "Up (Paused)"),
        ("Exited (137) 4 weeks ago", "Exited (137)"),
        ("Restarting (1) 5 seconds ago", "Restarting (1)"),
        ("Created", "Created"),
        ("Removal In Progress", "Removal"),
        ("", ""),
    ],
)
def test_status_without_the_time_since(said: str, read: str) -> None:
    assert read_status(said) == read


def test_units_of_others_are_no_daemons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "UNITS", tmp_path)
    wants = tmp_path / f"ceph-{FSID}.target.wants"
    wants.mkdir()
    for name in ("ssh.service", "ceph-crash.service", f"ceph-{FSID}@-x.service", f"ceph-{FSID}@osd.$(x).service"):
        (wants / name).touch()
    assert daemons.find() == {}
