"""The end of the lab's pool: a support bundle, `destroy --wipe`, killed twice; nothing is left; apply works again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab import before_apply
from tests.lab.conftest import ROOT, Run, shoal_argv
from tests.lab.lab_commands import lab_cli

pytestmark = pytest.mark.lab
OWN = ("shoal-osd-", "Shoal disks", "shoal-storage-")


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    """All hosts are on, and the pool is as the spec says."""
    for host in lab.hosts:
        lab_cli("boot", host.name, timeout_s=600)
    done = shoal("apply", "--yes", timeout_s=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return witness_vm.Session(lab, enter_namespace=True)


@pytest.fixture(scope="module")
def name(session: witness_vm.Session) -> str:
    """What the pool is called: by its uuid, since it has no name."""
    (pool,) = session.call("pool.get_all")
    return str(session.call("pool.get_name_label", pool) or session.call("pool.get_uuid", pool))


@pytest.fixture
def disk(session: witness_vm.Session) -> Iterator[str]:
    (sr,) = session.call("SR.get_by_name_label", "shoal")
    record = {"name_label": "precious", "name_description": "", "SR": sr, "virtual_size": str(64 << 20)}
    record |= {"type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}}
    yield str(session.call("VDI.create", {**record, "sm_config": {}, "tags": []}))


def test_a_bundle_holds_the_pool_and_no_secret(
    lab: Lab, session: witness_vm.Session, shoal: Run, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    done = shoal("collect", "-o", str(bundle), timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(bundle) as tar:
        files = {member.name.partition("/")[2]: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]
    assert b"mon" in files["ceph/status.json"]
    assert any(path.startswith("dom0/xen1/") for path in files) and any(
        path.startswith("storage-vm/") for path in files
    )
    secrets = [lab.password_file.read_text().strip(), *ssh_keys(session)]
    assert not [path for path, data in files.items() for secret in secrets if secret.encode() in data]


def ssh_keys(session: witness_vm.Session) -> list[str]:
    values = [record["value"] for record in session.call("secret.get_all_records").values()]
    return [line for value in values for line in value.splitlines() if len(line) > 16 and not line.startswith("-----")]


def test_disks_are_not_lost_by_accident(session: witness_vm.Session, shoal: Run, name: str, disk: str) -> None:
    for vm, record in session.call("VM.get_all_records").items():
        is_own = record["is_control_domain"] or "shoal:host" in record["other_config"]
        if record["power_state"] == "Running" and not is_own:
            session.call("VM.hard_shutdown", vm)
    said = shoal("destroy", "--pool", name, "--wipe", timeout_s=180)
    assert said.returncode == 1
    assert "virtual disks lie on SR 'shoal'" in said.stderr and "nothing was touched" in said.stderr
    wrong = shoal("destroy", "--pool", "another", "--with-disks", timeout_s=180)
    assert wrong.returncode == 1 and "not 'another'" in wrong.stderr


@pytest.mark.long  # two minutes
def test_killed_twice_it_takes_all_of_it_away(lab: Lab, shoal: Run, name: str) -> None:
    seed = int(os.environ.get("SHOAL_TEST_SEED", str(time.time_ns() % 1_000_000)))
    print(f"seed {seed}")
    chance = random.Random(seed)
    words = ("destroy", "--pool", name, "--with-disks", "--wipe")
    for latest_s in (15, 60):
        process = subprocess.Popen(
            shoal_argv(*words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(timeout=chance.uniform(4, latest_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    done = shoal(*words, timeout_s=1200)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    again = shoal(*words, timeout_s=180)
    assert again.returncode == 0 and "nothing to do" in again.stdout, again.stdout + again.stderr
    assert differences(before_apply.noted(lab), before_apply.look(lab)) == []


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Other tests leave VMs and disks of their own on Local storage: those are no business of destroy's."""
    found = []
    for key in before:
        old, new = before[key], after[key]
        if key == "local disks":
            old, new = ([one for one in names if one.startswith(OWN)] for names in (old, new))
        if isinstance(old, list):
            found += [f"{key}: gone: {one}" for one in old if one not in new]
            found += [f"{key}: left: {one}" for one in new if one not in old]
        elif old != new:
            found.append(f"{key}: {old} before, {new} now")
    return found


@pytest.mark.long
def test_apply_makes_it_all_again(shoal: Run) -> None:
    done = shoal("apply", "--yes", timeout_s=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    plan = shoal("plan", "--exit-code", timeout_s=180)
    assert plan.returncode == 0, plan.stdout + plan.stderr
