"""A volume that lies on a disk is taken off it before the storage VM's kernel shall let the disk go."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shoal.steps.disk_removal import RELEASE


def release(folder: Path, disk: Path, *, exit_code: int = 0) -> tuple[int, list[str]]:
    """What `dmsetup` was told."""
    told = folder / "told"
    tool = folder / "bin/dmsetup"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/bin/sh\necho "$@" >>{told}\nexit {exit_code}\n')
    tool.chmod(0o755)
    argv: list[str | Path] = ["sh", "-c", RELEASE, "sh", disk, folder / "block"]
    path = f"{tool.parent}:/usr/bin:/bin"
    done = subprocess.run(argv, env={"PATH": path}, capture_output=True, timeout=20, check=False)
    return done.returncode, told.read_text().splitlines() if told.exists() else []


def make_disk(folder: Path, *volumes: str) -> Path:
    """A disk by another name, as in the lab, with these volumes on it."""
    disk, link = folder / "loop7", folder / "xvdc"
    disk.touch()
    link.symlink_to("loop7")
    (folder / "block/loop7/holders").mkdir(parents=True)
    for number, name in enumerate(volumes):
        (folder / f"block/loop7/holders/dm-{number}/dm").mkdir(parents=True)
        (folder / f"block/loop7/holders/dm-{number}/dm/name").write_text(f"{name}\n")
    return link


def test_the_volumes_of_an_osd_are_taken_off_its_disk(tmp_path: Path) -> None:
    disk = make_disk(tmp_path, "ceph--1-osd--block--2", "ceph--1-osd--db--3")
    wanted = ["remove --retry ceph--1-osd--block--2", "remove --retry ceph--1-osd--db--3"]
    assert release(tmp_path, disk) == (0, wanted)


def test_a_volume_in_use_is_told(tmp_path: Path) -> None:
    code, told = release(tmp_path, make_disk(tmp_path, "in-use", "other"), exit_code=1)
    assert (code, len(told)) == (1, 1)


def test_a_disk_without_a_volume_and_one_that_is_gone_are_left_alone(tmp_path: Path) -> None:
    assert release(tmp_path, make_disk(tmp_path)) == (0, [])
    assert release(tmp_path, tmp_path / "gone") == (0, [])
