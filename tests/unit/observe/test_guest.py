"""guest_probe.py run for real here, and the reading of what it answers."""

from __future__ import annotations

import contextlib
import datetime
import json
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shoal.observe
from shoal.kit import shipped
from shoal.kit.certificate_name import lasting_name
from shoal.kit.errors import ShoalError
from shoal.observe.guest import read_guest
from shoal.observe.reading import parse
from shoal.steps import certificates
from tests.unit.observe.answers import JSON, Place, places, with_value

PROBE = Path(shoal.observe.__file__).with_name("guest_probe.py")
AUTHORITY = certificates.make_authority()
FSID = "795f48c2-e050-4316-9193-7661eb96f238"
GOOD = {
    "is_initialised": True,
    "docker": {"images": ["localhost/ceph:18.2.7"], "containers": [f"ceph-{FSID}-mon-shoal-storage-xen1"]},
    "fsid": FSID,
    "is_half_made": False,
    "volume_service": "d",
    "volume_service_runs": "d",
    "volume_service_answers": True,
    "volume_clients": ["xen1 a"],
    "volume_authority": "ca",
    "certificate": "",
    "devices": {"xvda": "loop3", "xvdc": "loop7"},
    "errors": {},
    "clock": [100.0, 100.1],
}


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    return runpy.run_path(str(PROBE))


def test_a_good_answer() -> None:
    seen = read_guest(GOOD, 99.9, 100.2)
    assert seen.guest.is_ready
    assert seen.has_mon
    assert seen.fsid == FSID
    assert not seen.is_half_made
    assert seen.devices["xvdc"] == "loop7"


@pytest.mark.parametrize(
    "name", [f"ceph-{FSID}-mgr-shoal-mon-1-abcdef", f"ceph-{FSID}-osd-0", "mon", f"ceph-{FSID}-monitoring"]
)
def test_what_is_no_monitor(name: str) -> None:
    assert not read_guest({**GOOD, "docker": {"images": [], "containers": [name]}}, 0, 1).has_mon


def test_without_docker_it_is_not_ready_yet() -> None:
    answer = {key: value for key, value in GOOD.items() if key != "docker"}
    seen = read_guest({**answer, "errors": {"docker": "FileNotFoundError: no such file"}}, 0, 200)
    assert not seen.guest.is_ready
    assert not seen.has_mon


def test_the_whole_probe_runs_and_is_understood(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listen = ["127.0.0.1", listener.getsockname()[1]]
        (tmp_path / "clients.json").write_text('["xen1 a", "xen2 b"]')
        request = {"volumes": str(tmp_path), "clients": str(tmp_path / "clients.json"), "listen": listen}
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-", json.dumps(request)], input=PROBE.read_bytes(), capture_output=True
        )
    seen = read_guest(parse(done.stdout.decode(), "here"), 0, 9e9)
    assert seen.guest.volume_service_answers
    assert seen.guest.volume_service == ""
    assert seen.guest.volume_clients == ("xen1 a", "xen2 b")


@pytest.mark.parametrize(("life", "seen"), [(3650, "ca"), (29, ""), (0, "")])
def test_a_certificate_that_is_soon_over_counts_as_none(monkeypatch: pytest.MonkeyPatch, life: int, seen: str) -> None:
    monkeypatch.setattr(certificates, "LIFE", datetime.timedelta(days=life))
    pair = certificates.make_server(AUTHORITY, "volume service of xen1", "10.77.0.21")
    assert read_guest({**GOOD, "certificate": pair.certificate}, 0, 1).guest.volume_authority == seen
    assert bool(lasting_name(certificates.make_client(AUTHORITY, "xen1").certificate)) == bool(seen)


@pytest.mark.parametrize("text", [None, "", "[", "{}", "1"])
def test_a_list_of_clients_that_is_none_is_not_there(probe: dict[str, Any], tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "clients.json").write_text(text)
    assert probe["volume_clients"](str(tmp_path / "clients.json")) is None
    answer = {key: value for key, value in GOOD.items() if key != "volume_clients"}
    assert read_guest(answer, 0, 1).guest.volume_clients is None


def test_the_volume_service_counts_once_its_step_came_to_the_end(probe: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "volumes"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("1")
    (folder / "__pycache__" / "a.cpython.pyc").write_text("x")
    wanted = shipped.digest([shipped.ShippedFile(f"{folder}/a.py", b"1")])
    assert probe["volume_service"](str(folder)) == ""
    (tmp_path / "volumes.digest").write_text(wanted + "\n")
    assert probe["volume_service"](str(folder)) == wanted
    (folder / "a.py").write_text("changed behind our back")
    assert probe["volume_service"](str(folder)) == ""


def test_what_the_volume_service_was_started_with(probe: dict[str, Any], tmp_path: Path) -> None:
    assert probe["volume_service_runs"](str(tmp_path / "volumes")) == ""
    (tmp_path / "volumes.running").write_text("d\n")
    assert probe["volume_service_runs"](str(tmp_path / "volumes")) == "d"
    assert read_guest(GOOD, 0, 1).guest.volume_service_runs == "d"


@settings(max_examples=300)
@given(st.sampled_from(list(places(GOOD))), JSON)
def test_any_wrong_value_is_told_and_never_a_bug(at: Place, wrong: object) -> None:
    with contextlib.suppress(ShoalError):
        read_guest(with_value(GOOD, at, wrong), 0.0, 1.0)
