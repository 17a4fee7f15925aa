"""One lab for all of these tests, in a folder of its own beside any lab of a person's.

The tests tell one story in order: an untouched pool, refusals, killed applies, a pool that works, a crash, its end.
$SHOAL_KEEP_LAB=1 leaves the lab up afterwards, to look around in; the next run takes it as it finds it only if
$SHOAL_KEEP_LAB is still set.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import witness_vm
from lab.topology import Lab, locate
from tests.lab import before_apply
from tests.lab.lab_commands import BIN, ROOT, SPEC, Run, lab_cli
from tests.lab.whole_pool import make_whole_and_quiet

DEFAULT_DIR = "/var/lib/shoal-lab-test"
ORDER = [
    "test_refusals",
    "test_apply",
    "test_pool",
    "test_clients",
    "test_containers",
    "test_driver",
    "test_disks",
    "test_sr_life",
    "test_full_pool",
    "test_reset_and_changes",
    "test_live_migration",
    "test_witness",
    "test_cold_start",
    "test_keeper",
    "test_maintenance",
    "test_disk_replace",
    "test_lvm",
    "test_upgrade",
    "test_failover",  # leaves the pool with another master
    "test_chaos",
    "test_destroy",
    "test_hosts_join_and_leave",  # leaves the pool with other hosts
    "test_existing",  # needs the hosts of a new lab, and leaves the pool without Shoal
]

__all__ = ["BIN", "ROOT", "SPEC", "Run", "lab_cli", "shoal_argv"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        stem = Path(str(item.fspath)).stem
        return ORDER.index(stem) if stem in ORDER else -1

    items.sort(key=place)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: run `sudo make test-lab`")
    os.environ["SHOAL_LAB_DIR"] = os.environ.get("SHOAL_LAB_DIR", DEFAULT_DIR)
    keep = os.environ.get("SHOAL_KEEP_LAB") == "1"
    if not keep:
        lab_cli("down", "--purge", timeout_s=300)
    lab_cli("up", timeout_s=1500)
    yield locate()
    if not keep:
        lab_cli("down", "--purge", timeout_s=300)


@pytest.fixture(scope="session", autouse=True)
def note_what_was_there(lab: Lab) -> None:
    """Before the first apply, for the last tests, which take it all down."""
    before_apply.note(lab)


JOURNAL = ("journalctl", "--no-pager", "--output", "short-iso", "--unit", "shoal-keeper", "--lines", "40")


@pytest.fixture(autouse=True)
def sentences(lab: Lab, request: pytest.FixtureRequest) -> Iterator[None]:
    """What the keepers said, if a test fails."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        for host in lab.hosts:
            print(host.name, lab_cli("run", host.name, "--", *JOURNAL, check=False).stdout[-4000:])


@pytest.fixture(scope="session")
def state(lab: Lab) -> Path:
    """Where `shoal` keeps its journal and pins in these tests."""
    path = lab.dir / "shoal"  # `shoal-lab exec` sets it so
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def shoal(lab: Lab) -> Run:
    """`shoal(*words)`: run it in the lab's network and return what it printed."""

    def run(*words: str, spec: Path = SPEC, timeout_s: float = 900, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shoal_argv(*words, spec=spec),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={**os.environ, "NO_COLOR": "1", **env},
        )

    return run


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    """With a pool that is whole and quiet. Some modules have one of their own."""
    return make_whole_and_quiet(lab, shoal)


def shoal_argv(*words: str, spec: Path = SPEC) -> list[str]:
    verb, *rest = words
    return [str(BIN / "shoal-lab"), "exec", "--", str(BIN / "shoal"), verb, "-f", str(spec), *rest]
