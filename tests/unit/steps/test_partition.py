"""The shell of the step partition, by the real sgdisk and blkid on an image file, whose partitions no kernel knows."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shoal.clients.ssh import Completed
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps import partition
from shoal.steps.tools import Tools

MIB = 1024**2
NAME = "shoal-osd-xen1-1"
NOT_KNOWN = "the kernel does not know {}2; reboot the host"


class Dom0:
    """Runs what it is told here, without udev, and keeps account of it."""

    name = "dom0 of xen1"

    def __init__(self, folder: Path) -> None:
        self.scripts: list[str] = []
        for program in ("udevadm", "partx"):
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
        self._env = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

    async def run(self, argv: Sequence[str], *, timeout_s: float, check: bool = True) -> Completed:
        self.scripts.append(argv[2])
        done = await asyncio.to_thread(self._run, argv, timeout_s)
        assert not check or done.returncode == 0, done.stderr
        return Completed(done.stdout, done.stderr, done.returncode)

    def _run(self, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, env=self._env, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk of 1 GiB whose first 100 MiB are a root area, under its stable name."""
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(1024 * MIB)
    argv: list[str | Path] = ["sgdisk", "--clear", "--new=1:1M:100M", "--change-name=1:root area", image]
    subprocess.run(argv, check=True, capture_output=True, timeout=30)
    (tmp_path / "by-id").symlink_to(image)
    return image.resolve()


def names(disk: Path) -> list[str]:
    done = subprocess.run(["sgdisk", "--print", disk], check=True, capture_output=True, text=True, timeout=30)
    return [line.split(maxsplit=6)[6] for line in done.stdout.partition("Number  ")[2].splitlines()[1:]]


def put(disk: Path, offset_bytes: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(offset_bytes)
        file.write(data)


@pytest.fixture
def dom0(tmp_path: Path) -> Dom0:
    (tmp_path / "bin").mkdir()
    return Dom0(tmp_path / "bin")


def tools(dom0: Dom0) -> Tools:
    class Connections:
        async def dom0(self, host: str) -> Any:
            assert host == "xen1"
            return dom0

    return Tools(Connections(), lambda *_: None)  # type: ignore[arg-type]


def action(disk: Path, **more: object) -> Action:
    settings: dict[str, object] = {
        "device": str(disk.parent / "by-id"),
        "use": "free-space",
        "size_bytes": None,
        "wipe": False,
    }
    settings |= {"name": NAME, **more}
    return Action("partition", "xen1:1", Change.CREATE, "test", "xen1", settings=settings)


async def test_it_is_made_and_seen_in_two_round_trips(disk: Path, dom0: Dom0) -> None:
    await partition.apply(action(disk), tools(dom0))
    # The third tells the kernel, which never gets to know a partition of a file.
    assert dom0.scripts == [partition.LOOK, partition.CREATE, partition.TELL]
    assert await partition.verify(action(disk), tools(dom0)) == NOT_KNOWN.format(disk)
    assert names(disk) == ["root area", NAME]


async def test_a_second_run_makes_no_second_one(disk: Path, dom0: Dom0) -> None:
    for _ in range(2):
        await partition.apply(action(disk, size_bytes=200 * MIB), tools(dom0))
    assert dom0.scripts.count(partition.CREATE) == 1


async def test_a_place_that_holds_an_osd_is_refused(disk: Path, dom0: Dom0) -> None:
    put(disk, 101 * MIB, b"bluestore block device\n")
    with pytest.raises(ShoalError, match="is not empty: a Ceph OSD"):
        await partition.apply(action(disk), tools(dom0))
    assert names(disk) == ["root area"]


async def test_a_disk_without_room_is_refused(disk: Path, dom0: Dom0) -> None:
    await partition.apply(action(disk), tools(dom0))
    with pytest.raises(ShoalError) as error:
        await partition.apply(action(disk, name="shoal-osd-xen1-2"), tools(dom0))
    assert error.value.details == "nothing is free"


async def test_a_disk_that_is_not_there_is_refused(disk: Path, dom0: Dom0) -> None:
    with pytest.raises(ShoalError, match="dom0 of xen1 has no disk"):
        await partition.apply(action(disk, device=f"{disk}.gone"), tools(dom0))
