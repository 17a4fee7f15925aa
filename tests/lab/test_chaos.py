"""A slice of chaos by a fresh seed, again with $SHOAL_CHAOS_SEED. And a dying disk."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from lab import loops
from lab.storage_vm import MIB
from lab.topology import Lab
from tests.chaos.campaign import begin, begin_slice, go_on, report
from tests.chaos.faults import FAULTS, rarely
from tests.chaos.run import wait_until_whole
from tests.lab.conftest import Run, lab_cli

pytestmark = pytest.mark.lab

NO_FAULT_AFTER_S = float(os.environ.get("SHOAL_CHAOS_SECONDS") or 420)  # the last one may take three minutes more


def test_a_dead_disk_fails_for_who_has_it_open_and_is_whole_again(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.touch()
    os.truncate(image, 64 * MIB)
    disk = loops.Range(str(image), MIB, 32 * MIB)
    device = loops.attach(disk)
    try:
        with device.open("r+b", buffering=0) as opened:
            os.pwrite(opened.fileno(), b"before", 8 * MIB)
            loops.fail(disk)
            with pytest.raises(OSError, match="No space left|Input/output error"):
                os.pwrite(opened.fileno(), b"during", 8 * MIB)
            assert os.pread(opened.fileno(), 6, 8 * MIB) == b""
            loops.mend(disk)
            assert os.pread(opened.fileno(), 6, 8 * MIB) == b"before"
        assert loops.find(disk) == device
    finally:
        loops.detach(disk)


def test_faults_one_after_the_other_lose_nothing_and_mend(lab: Lab, shoal: Run) -> None:
    lab_cli("up", timeout_s=600)
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    seed = int(os.environ.get("SHOAL_CHAOS_SEED") or random.randrange(10**6))
    print(f"SHOAL_CHAOS_SEED={seed}")
    began_s = time.monotonic()
    with begin(lab) as run:
        run.is_broken = not wait_until_whole(run, "at first")
        begin_slice(run, seed)
        go_on(run, rarely(FAULTS), seed, began_s + NO_FAULT_AFTER_S - time.monotonic())
    print(json.dumps(report(run, seed), indent=2))
    assert run.events
    assert run.accusations == []
    assert run.false_alarms == 0
