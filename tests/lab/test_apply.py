"""`apply` on a pool that nobody touched: two at once, killed again and again, and then nothing left to do."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.topology import Lab
from lab.witness_vm import TROUBLE, Session
from tests.lab.conftest import ROOT, Run, shoal_argv

pytestmark = pytest.mark.lab

KILLS = int(os.environ.get("SHOAL_TEST_KILLS", "10"))
SEED = int(os.environ.get("SHOAL_TEST_SEED", str(time.time_ns() % 1_000_000)))
LONGEST_S = 30
NO_OP_S = 4
RESTART_WITHIN_S = 60.0  # a toolstack, in an emulated dom0


def start_apply(log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            shoal_argv("apply", "--yes"),
            cwd=ROOT,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1"},
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class SecretWatch:
    """Looks at the arguments of every process on the machine until told to stop."""

    def __init__(self, secrets: list[str]) -> None:
        self.secrets = secrets
        self.found: list[str] = []
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes().decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                self.found += [words for secret in self.secrets if secret in words]

    def __enter__(self) -> SecretWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def log(lab: Lab) -> Path:
    return lab.dir / "applies.log"


@contextmanager
def running_apply(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start_apply(log)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)


def test_second_apply_is_refused(lab: Lab, shoal: Run, log: Path) -> None:
    with running_apply(log) as first:
        wait_for_lock(lab)
        second = shoal("apply", "--yes", timeout_s=60)
        assert first.poll() is None, log.read_text()[-2000:]
    assert second.returncode == 1
    assert "lock" in second.stdout + second.stderr
    assert re.search(r"pid \d+", second.stdout + second.stderr)


def wait_for_lock(lab: Lab) -> None:
    session = in_lab(lab)
    (pool,) = session.call("pool.get_all")
    deadline = time.monotonic() + 60
    while "shoal:lock" not in session.call("pool.get_other_config", pool):
        assert time.monotonic() < deadline, "no lock within 60 s"
        time.sleep(0.3)


def in_lab(lab: Lab) -> Session:
    """A session from outside the lab's namespace: over the private wire to the master's toolstack."""
    return Session(lab, enter_namespace=True)


def test_killed_applies_converge(lab: Lab, shoal: Run, log: Path) -> None:
    chance = random.Random(SEED)
    print(f"seed {SEED}")
    with SecretWatch([lab.password_file.read_text().strip()]) as watch:
        longest_s, kills = LONGEST_S, 0
        while kills < KILLS:
            with running_apply(log) as process:
                moment_s = chance.uniform(0.5, longest_s)
                try:
                    process.wait(timeout=moment_s)
                    print(f"ended by itself with {process.returncode} before {moment_s:.1f} s")
                    longest_s = NO_OP_S  # it has converged early: the rest of the kills meet an apply that only looks
                except subprocess.TimeoutExpired:
                    kill(process)
                    kills += 1
                    print(f"kill {kills}: after {moment_s:.1f} s")
            check_nothing_twice(lab)
        done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert not watch.found
    assert watch.looks > 10
    check_nothing_twice(lab)
    check_one_of_each(lab)


def check_nothing_twice(lab: Lab) -> None:
    """No second VM, VDI, SR or partition by the same name, at any moment."""
    vms, srs, vdis = read_records(lab, "VM", "SR", "VDI")
    for records in (vms, srs):
        names = Counter(name_of(record) for record in records)
        assert not [name for name, count in names.items() if count > 1 and name.lower().startswith("shoal")], names
    disks = Counter(record["other_config"].get("shoal:disk") for record in vdis)
    assert not [disk for disk, count in disks.items() if disk and count > 1], disks


def read_records(lab: Lab, *kinds: str) -> list[list[dict[str, Any]]]:
    """Of each kind all. What was killed may just have told the master's toolstack to restart, once or twice."""
    deadline = time.monotonic() + RESTART_WITHIN_S
    while True:
        try:
            session = in_lab(lab)
            return [list(session.call(f"{kind}.get_all_records").values()) for kind in kinds]
        except TROUBLE:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def name_of(record: dict[str, Any]) -> str:
    return str(record["name_label"])


def check_one_of_each(lab: Lab) -> None:
    session = in_lab(lab)
    vms = [vm for vm in session.call("VM.get_all_records").values() if "shoal:host" in vm["other_config"]]
    assert len(vms) == lab.host_count
    assert len({vm["other_config"]["shoal:host"] for vm in vms}) == lab.host_count
    rbd = [sr for sr in session.call("SR.get_all_records").values() if sr["type"] == "rbd"]
    assert len(rbd) == 1
    assert len(rbd[0]["PBDs"]) == lab.host_count
    secrets = session.call("secret.get_all")
    assert len(secrets) <= 2 + lab.host_count  # the SSH key, the CephX key, and xapi's copy of it for each PBD


def test_nothing_is_left_to_do(shoal: Run) -> None:
    plan = shoal("plan", "--exit-code", timeout_s=120)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    began = time.monotonic()
    again = shoal("apply", "--yes", timeout_s=120)
    print(f"apply with nothing to do: {time.monotonic() - began:.1f} s")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do" in (again.stdout + again.stderr).lower()
