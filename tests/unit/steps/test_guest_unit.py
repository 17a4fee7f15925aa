"""The shell that looks at a unit of a storage VM, with a systemd that says what the test wants."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from shoal.clients.ssh import Completed
from shoal.kit.errors import ShoalError
from shoal.steps import guest_unit

UNIT = "shoal-osd-prepare-xvdc"
SYSTEMCTL = """#!/bin/sh
[ "$1 $6" = "show shoal-osd-prepare-xvdc.service" ] || exit 9
cat "$(dirname "$0")/state"; [ ! -e "$(dirname "$0")/next" ] || mv "$(dirname "$0")/next" "$(dirname "$0")/state"
"""
RUNNING = "ActiveState=activating\nResult=success\nExecMainStatus=0\n"


class Guest:
    name = "storage VM of xen1"

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands = folder, 0
        for name, text in (("systemctl", SYSTEMCTL), ("journalctl", '#!/bin/sh\nprintf "first\\nState=last\\n"\n')):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    async def run(self, argv: Sequence[str], *, timeout_s: float, **_more: object) -> Completed:
        self.commands += 1
        done = await asyncio.to_thread(self._run, argv, timeout_s)
        return Completed(done.stdout, done.stderr, done.returncode)

    def _run(self, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.folder}:/usr/bin:/bin"}
        return subprocess.run(argv, env=env, check=True, capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    return Guest(tmp_path)


async def test_its_end_is_seen_and_its_last_words_on_the_way(guest: Any) -> None:
    (guest.folder / "state").write_text(RUNNING)
    (guest.folder / "next").write_text("ActiveState=active\nResult=success\nExecMainStatus=0\n")
    said: list[str] = []
    await guest_unit.wait(guest, UNIT, timeout_s=10, progress=said.append)
    assert said == ["State=last"]
    assert guest.commands == 2  # one for each look
    assert not await guest_unit.is_running(guest, UNIT)


async def test_a_start_that_systemd_has_not_come_to_yet_is_no_failure(guest: Any) -> None:
    (guest.folder / "state").write_text("ActiveState=inactive\nJob=4711\nResult=success\nExecMainStatus=0\n")
    assert await guest_unit.is_running(guest, UNIT)
    (guest.folder / "next").write_text("ActiveState=active\nJob=\nResult=success\nExecMainStatus=0\n")
    await guest_unit.wait(guest, UNIT, timeout_s=10)
    assert not await guest_unit.is_running(guest, UNIT)


async def test_a_unit_that_is_gone_is_a_failure(guest: Any) -> None:
    (guest.folder / "state").write_text("ActiveState=inactive\nResult=success\nExecMainStatus=0\n")
    with pytest.raises(ShoalError, match="failed on the storage VM of xen1"):
        await guest_unit.wait(guest, UNIT, timeout_s=10)


async def test_its_failure_is_told_with_all_that_it_said(guest: Any) -> None:
    (guest.folder / "state").write_text("ActiveState=failed\nResult=exit-code\nExecMainStatus=3\n")
    with pytest.raises(ShoalError, match=r"failed on the storage VM of xen1 \(exit code 3\)") as error:
        await guest_unit.wait(guest, UNIT, timeout_s=10)
    assert error.value.details == "first\nState=last"
