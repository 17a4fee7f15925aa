"""Input that is wrong is refused with the place, the reason and a remedy, and nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.topology import Lab
from lab.witness_vm import Session
from tests.lab.conftest import SPEC, Run

pytestmark = pytest.mark.lab
Edit = Callable[[str, str], Path]
# Not SM and PBD: a toolstack that has just started fills in the one and plugs the other.
KINDS = ("pool", "network", "VDI", "VM", "VBD", "VIF", "secret")


@pytest.fixture
def spec_with(tmp_path: Path) -> Edit:
    """The lab's spec with one text replaced by another."""

    def write(old: str, new: str) -> Path:
        text = SPEC.read_text()
        assert old in text
        path = tmp_path / "shoal.yaml"
        path.write_text(text.replace(old, new, 1))
        return path

    return write


@pytest.fixture(autouse=True)
def nothing_touched(lab: Lab) -> Iterator[None]:
    """All that XenAPI says of the pool is the same afterwards: the lock came and went."""
    session = Session(lab, enter_namespace=True)
    before = records(session)
    yield
    assert records(session) == before


def records(session: Session) -> dict[str, Any]:
    seen = {kind: session.call(f"{kind}.get_all_records") for kind in KINDS}
    return {**seen, "SR": sorted(session.call("SR.get_all"))}


def refused(shoal: Run, spec: Path, *wanted: str, code: int = 1, **env: str) -> None:
    done = shoal("apply", "--yes", spec=spec, timeout_s=120, **env)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, said
    for text in wanted:
        assert text in said


def test_wrong_password(shoal: Run, lab: Lab, tmp_path: Path, spec_with: Edit) -> None:
    spec = spec_with("env: SHOAL_POOL_PASSWORD", "env: WRONG_PASSWORD")
    refused(shoal, spec, "password", WRONG_PASSWORD="not it")


def test_changed_certificate(shoal: Run, spec_with: Edit) -> None:
    spec = spec_with("  user: root", f"  user: root\n  fingerprint: sha256:{'0' * 64}")
    refused(shoal, spec, "certificate", "0" * 64)


def test_missing_disk(shoal: Run, spec_with: Edit) -> None:
    spec = spec_with("SHOAL-xen2", "SHOAL-absent")
    refused(shoal, spec, "SHOAL-absent", f"{spec}:")


def test_disk_in_use(shoal: Run, spec_with: Edit) -> None:
    spec = spec_with("use: free-space", "use: whole-disk")
    refused(shoal, spec, "whole-disk", f"{spec}:")


def test_not_enough_space(shoal: Run, spec_with: Edit) -> None:
    spec = spec_with("use: free-space", "use: free-space, size: 900GiB")
    refused(shoal, spec, "900", f"{spec}:")


def test_unreachable_host(shoal: Run, spec_with: Edit) -> None:
    spec = spec_with("https://10.77.0.11", "https://10.77.0.99")
    refused(shoal, spec, "10.77.0.99")
