"""Input that is wrong is refused with the place, the reason and a remedy, and nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.topology import Lab
from tests.lab.conftest import SPEC, Run

pytestmark = pytest.mark.lab


@pytest.fixture
def spec_with(tmp_path: Path):
    """The lab's spec with one text replaced by another."""

    def write(old: str, new: str) -> Path:
        text = SPEC.read_text()
        assert old in text
        path = tmp_path / "shoal.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_touched(lab: Lab):
    """The pool's records are the same afterwards; only heartbeats (host_metrics) go on, and the lock came and went."""
    before = records(lab)
    yield
    assert records(lab) == before


def records(lab: Lab) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(lab.database.read_text())["rows"]
    del rows["host_metrics"]
    return rows


def refused(shoal: Run, spec: Path, *wanted: str, code: int = 1, **env: str) -> None:
    done = shoal("apply", "--yes", spec=spec, timeout_s=120, **env)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, said
    for text in wanted:
        assert text in said


def test_wrong_password(shoal: Run, lab: Lab, tmp_path: Path, spec_with) -> None:
    spec = spec_with("env: SHOAL_POOL_PASSWORD", "env: WRONG_PASSWORD")
    refused(shoal, spec, "password", WRONG_PASSWORD="not it")


def test_changed_certificate(shoal: Run, spec_with) -> None:
    spec = spec_with("  user: root", f"  user: root\n  fingerprint: sha256:{'0' * 64}")
    refused(shoal, spec, "certificate", "0" * 64)


def test_missing_disk(shoal: Run, spec_with) -> None:
    spec = spec_with("SHOAL-xen2", "SHOAL-absent")
    refused(shoal, spec, "SHOAL-absent", f"{spec}:")


def test_disk_in_use(shoal: Run, spec_with) -> None:
    spec = spec_with("use: free-space", "use: whole-disk")
    refused(shoal, spec, "whole-disk", f"{spec}:")


def test_not_enough_space(shoal: Run, spec_with) -> None:
    spec = spec_with("use: free-space", "use: free-space, size: 900GiB")
    refused(shoal, spec, "900", f"{spec}:")


def test_unreachable_host(shoal: Run, spec_with) -> None:
    spec = spec_with("https://10.77.0.11", "https://10.77.0.99")
    refused(shoal, spec, "10.77.0.99")
