"""A pool that `apply` has made: nothing is pretended, nothing secret lies about, and status says how it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lab.topology import Lab
from tests.lab.conftest import Run, lab_cli
from tests.lab.storage_vm_shell import in_storage_vm

pytestmark = pytest.mark.lab
# The image by name: cephadm finds one by its digest, and an image that was loaded, not pulled, has none.
CEPH = ["cephadm", "--image", "localhost/ceph:18.2.7", "shell", "--", "ceph"]


@pytest.fixture(scope="module", autouse=True)
def applied(shoal: Run) -> None:
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_dom0_runs_on_xen(lab: Lab) -> None:
    for host in lab.hosts:
        assert "xen_version" in lab_cli("run", host.name, "--", "xl", "info").stdout


def test_storage_vms_run_ceph_in_docker(lab: Lab) -> None:
    for host in lab.hosts:
        names = in_storage_vm(lab, host, ["docker", "ps", "--format", "{{.Names}}"])
        assert "-mon-" in names
        assert "-osd-" in names


def test_ceph_answers_and_is_healthy(lab: Lab) -> None:
    seen = json.loads(in_storage_vm(lab, lab.hosts[0], [*CEPH, "-s", "--format", "json"]))
    assert seen["health"]["status"] == "HEALTH_OK"
    assert len(seen["quorum"]) == lab.host_count
    assert seen["osdmap"]["num_up_osds"] == lab.host_count


def test_status_is_healthy(shoal: Run) -> None:
    done = shoal("status", "--json", timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HEALTH_OK" in done.stdout


def test_no_secret_in_files(lab: Lab, shoal: Run, state: Path) -> None:
    """Not in the journal, the plan, the driver's log or the toolstack's; where the keys are, they are needed."""
    secrets = [lab.password_file.read_text().strip(), *ceph_keys(lab)]
    plan = shoal("plan", "--json", timeout_s=120).stdout
    texts = {"plan": plan, **{str(path): read(path) for path in state.rglob("*") if path.is_file()}}
    for host in lab.hosts:
        texts[f"{host.name} logs"] = lab_cli(
            "run", host.name, "--", "sh", "-c", "cat /var/log/SMlog* ; journalctl"
        ).stdout
        texts[f"{host.name} storage VM logs"] = in_storage_vm(lab, host, ["journalctl", "--no-pager"])
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where


def ceph_keys(lab: Lab) -> list[str]:
    listed = json.loads(in_storage_vm(lab, lab.hosts[0], [*CEPH, "auth", "ls", "-f", "json"]))
    keys = [entry["key"] for entry in listed["auth_dump"]]
    assert len(keys) > 5
    return keys


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def test_volume_service_asks_for_a_certificate(lab: Lab) -> None:
    url = f"https://{lab.hosts[0].storage_vm_address}:7443/status"
    argv = ["nsenter", f"--net=/run/netns/{lab.namespace}", "curl", "-sk", "--max-time", "10", url]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    # Something answers there (7: refused, 28: silent, 127: no curl), and it lets nobody in.
    assert done.returncode not in (0, 7, 28, 127)
    assert not done.stdout
