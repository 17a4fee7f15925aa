"""A whole disk that may be wiped is not, while somebody has it open: the step's script on a real block device."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.steps.partition import CLEAR

pytestmark = pytest.mark.ceph


def run(*argv: str | Path, code: int = 0) -> str:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return (done.stdout or done.stderr).strip()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A disk with one partition."""
    run("truncate", "--size=64M", tmp_path / "disk")
    made = run("losetup", "--find", "--show", "--partscan", tmp_path / "disk")
    run("sgdisk", "--new=1:0:0", "--change-name=1:kept", made)
    run("partx", "--update", made)
    yield made
    run("losetup", "--detach", made)


def test_a_disk_that_somebody_has_open_is_not_wiped(device: str, tmp_path: Path) -> None:
    name, node = Path(device).name, tmp_path / "node"
    numbers = Path(f"/sys/class/block/{name}/{name}p1/dev").read_text().split(":")
    os.mknod(node, 0o60600, os.makedev(*map(int, numbers)))
    storage_vms = os.open(node, os.O_RDONLY)  # not exclusively, as tapdisk has it
    try:
        assert "or a partition of it is open, and it was not wiped" in run("sh", "-c", CLEAR, "sh", device, code=1)
    finally:
        os.close(storage_vms)
    assert "kept" in run("sgdisk", "--print", device)
    run("sh", "-c", CLEAR, "sh", device)
    assert "kept" not in run("sgdisk", "--print", device)
