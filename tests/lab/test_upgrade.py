"""Ceph is brought to another image while a VM writes; the command is killed on the way. Steps back are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import ROOT, SPEC, Run, lab_cli, shoal_argv
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.test_keeper import log_in
from tests.lab.test_maintenance import end_others
from tests.lab.test_pool import CEPH

pytestmark = [pytest.mark.lab, pytest.mark.long]
OLD, NEW, OLDER = "localhost/ceph:18.2.7", "localhost/ceph:18.2.7-b", "localhost/ceph:18.2.6"
VM, HOST, OTHER = "upgrade-witness", "xen2", "xen3"
UPGRADE_S = 3600
MAKE_IMAGE = (ROOT / "tests/lab/second_image.py").read_text()
SAYS_OLDER = "#!/bin/sh\necho 'ceph version 18.2.6 (0000) reef (stable)'\n"


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    """A pool that is as wanted, both images in every storage VM, and a witness that writes."""
    lab_cli("up", timeout_s=600)
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    make_image(lab, NEW, "/etc/lab-image", "second\n")
    make_image(lab, OLDER, "/usr/bin/ceph", SAYS_OLDER)
    session = log_in(lab)
    end_others(session)
    vm = witness_vm.create(session, "shoal", VM)
    witness_vm.stop(lab, session, vm)
    witness_vm.start(session, vm, HOST)
    return session


@pytest.fixture(scope="module")
def spec(lab: Lab) -> Path:
    """A copy that the verb may write to."""
    copy = lab.dir / "upgrade.yaml"
    copy.write_text(SPEC.read_text())
    return copy


def make_image(lab: Lab, name: str, path: str, text: str) -> None:
    argv = ["python3", "-c", MAKE_IMAGE, OLD, name, path, text]
    ids = {in_storage_vm(lab, host, argv).strip() for host in lab.hosts}
    assert len(ids) == 1, f"{name} is {ids}"


def ceph(lab: Lab, *words: str) -> str:
    return in_storage_vm(lab, lab.hosts[0], [*CEPH, *words])


def health(lab: Lab) -> str:
    return str(json.loads(ceph(lab, "health", "--format", "json"))["status"])


def is_under_way(lab: Lab) -> bool:
    return bool(json.loads(ceph(lab, "orch", "upgrade", "status", "--format", "json"))["in_progress"])


def images(lab: Lab) -> list[str]:
    """Of each container that runs in a storage VM."""
    listed = [in_storage_vm(lab, host, ["docker", "ps", "--format", "{{.Image}}"]) for host in lab.hosts]
    return [image for lines in listed for image in lines.split()]


def acked(lab: Lab, more: int) -> int:
    before = witness_vm.read_console(lab, HOST, VM).acked
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, HOST, VM).acked,
        lambda count: count >= before + more,
        timeout_s=240,
        what=f"{more} more records on {HOST}",
    )


def wait_for_health(lab: Lab, wanted: str) -> None:
    witness_vm.wait_for(lambda: health(lab), lambda seen: seen == wanted, timeout_s=240, what=wanted)


def test_a_step_back_is_refused(lab: Lab, shoal: Run, session: witness_vm.Session, spec: Path) -> None:
    done = shoal("upgrade", "--image", OLDER, "--yes", spec=spec)
    assert done.returncode == 1 and "it is older than 18.2.7" in done.stdout + done.stderr, done.stdout + done.stderr
    assert not is_under_way(lab) and set(images(lab)) == {OLD}


def test_refused_while_ceph_says_that_it_is_in_error(
    lab: Lab, shoal: Run, session: witness_vm.Session, spec: Path
) -> None:
    """A monitor that has less than 99 % of its disk free is made to be one."""
    ceph(lab, "config", "set", "mon", "mon_data_avail_crit", "99")
    try:
        wait_for_health(lab, "HEALTH_ERR")
        done = shoal("upgrade", "--image", NEW, "--yes", spec=spec)
        assert done.returncode == 1 and "Ceph says HEALTH_ERR" in done.stdout + done.stderr, done.stdout + done.stderr
        assert not is_under_way(lab)
    finally:
        ceph(lab, "config", "rm", "mon", "mon_data_avail_crit")
    wait_for_health(lab, "HEALTH_OK")


def test_an_upgrade_is_killed_and_followed_while_a_vm_writes(
    lab: Lab, shoal: Run, session: witness_vm.Session, spec: Path
) -> None:
    acked(lab, 20)
    began = time.monotonic()
    log = lab.dir / "upgrade.log"
    with log.open("wb") as output:
        words = shoal_argv("upgrade", "--image", NEW, "--yes", spec=spec)
        process = subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    try:
        moved = witness_vm.wait_for(
            lambda: images(lab).count(NEW),
            lambda count: count >= 2 or process.poll() is not None,
            timeout_s=900,
            what="two daemons to run the new image",
        )
        assert process.poll() is None, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert OLD in images(lab) and NEW not in spec.read_text()
    print(f"killed after {time.monotonic() - began:.0f} s, when {moved} containers ran the new image")
    acked(lab, 20)
    follow(shoal, spec)
    print(f"upgraded after {time.monotonic() - began:.0f} s")
    assert set(images(lab)) == {NEW}
    wait_for_health(lab, "HEALTH_OK")


def follow(shoal: Run, spec: Path) -> None:
    """The same command again, and again if it must: while a manager is replaced Ceph may not be seen."""
    deadline = time.monotonic() + UPGRADE_S
    while True:
        done = shoal("upgrade", "--image", NEW, "--yes", spec=spec, timeout_s=UPGRADE_S)
        if done.returncode == 0:
            return
        print(done.stdout[-1500:], done.stderr[-1500:])
        assert time.monotonic() < deadline and done.returncode == 1, done.stderr
        time.sleep(20)


def test_nothing_is_left_to_do_and_apply_does_not_go_back(
    lab: Lab, shoal: Run, session: witness_vm.Session, spec: Path
) -> None:
    assert f"image: {NEW}" in spec.read_text()
    again = shoal("upgrade", "--yes", spec=spec)
    assert again.returncode == 0 and "nothing to do" in (again.stdout + again.stderr).lower(), again.stdout
    plan = shoal("plan", "--exit-code", spec=spec)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    applied = shoal("apply", "--yes", spec=spec)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert set(images(lab)) == {NEW}


def test_the_witness_has_all_its_records(lab: Lab, session: witness_vm.Session) -> None:
    before = acked(lab, 20)
    (vm,) = session.call("VM.get_by_name_label", VM)
    witness_vm.stop(lab, session, vm)
    witness_vm.start(session, vm, OTHER)
    console = witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, OTHER, VM),
        lambda console: console.highest is not None,
        timeout_s=240,
        what="the witness to say what it found",
    )
    assert "damaged" not in console.text
    assert console.highest is not None and console.highest >= before
    witness_vm.stop(lab, session, vm)
