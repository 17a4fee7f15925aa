"""How a run ends whose hosts do not answer any more."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lab.topology import Lab
from tests.chaos import campaign
from tests.chaos.campaign import remove_vms
from tests.chaos.ground import Ground
from tests.chaos.listen import Listener
from tests.chaos.run import Run


class Pool:
    """A toolstack that gives up on a call for a VM of a dead host after a while."""

    def __init__(self, dead: str, patience_s: float) -> None:
        self._dead, self._patience_s = dead, patience_s
        self.destroyed: list[str] = []

    def call(self, method: str, ref: str, *_: str) -> Any:
        if method == "VM.hard_shutdown" and self._dead in ref:
            time.sleep(self._patience_s)
            raise TimeoutError("timed out")
        if method == "VM.destroy":
            self.destroyed.append(ref)
        return {"VM.get_power_state": "Running", "VM.get_VBDs": ["a VBD"]}.get(method, "a VDI")


class Ruin(Ground):
    pool: Pool

    def session(self, **_: object) -> Any:
        return self.pool


def ruin(folder: Path, pool: Pool) -> Run:
    lab = Lab(folder, folder)
    ground = Ruin(lab)
    ground.pool = pool
    return Run(ground, Listener(lab, "vm"), {"vm-1": "one", "vm-2": "two", "vm-3": "three"})


def test_a_witness_that_cannot_be_removed_leaves_the_others_to_be(tmp_path: Path) -> None:
    pool = Pool("two", 0)
    run = ruin(tmp_path, pool)
    remove_vms(run)
    assert pool.destroyed == ["one", "three"]
    assert run.accusations == ["the witness vm-2 could not be removed: timed out"]


def test_no_more_is_asked_when_the_time_for_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "REMOVE_WITHIN_S", 0.1)
    run = ruin(tmp_path, Pool("", 0.2))  # all are dead
    remove_vms(run)
    assert run.accusations[0] == "the witness vm-1 could not be removed: timed out"
    assert [text.partition(": ")[2] for text in run.accusations[1:]] == [
        "no time was left for VM.remove_from_other_config"
    ] * 2
