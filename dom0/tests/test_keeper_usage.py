"""How full an SR is, which thin disks change without any call of the toolstack's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper.state import Ceph, Host, Pbd, Pool, Seen
from dom0.shoal_keeper.toolstack import Refused
from dom0.shoal_keeper.usage import EVERY_S, Usage
from dom0.tests.keeper_pool import KeeperPool


@pytest.fixture
def three(tmp_path: Path) -> Iterator[KeeperPool]:
    with KeeperPool(tmp_path, host_count=3) as made:
        yield made


class Tasks:
    """As the toolstack answers about tasks: each stays as it is set here, `pending` at first."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.states: dict[str, tuple[str, list[str]]] = {}
        self.destroyed: list[str] = []

    def call(self, method: str, ref: str) -> Any:
        if method == "Async.SR.update":
            self.begun.append(ref)
            self.states[f"task {len(self.begun)}"] = ("pending", [])
            return f"task {len(self.begun)}"
        if ref not in self.states:
            raise Refused("task.get_record", ["HANDLE_INVALID", "task", ref])
        if method == "task.destroy":
            self.destroyed.append(ref)
            return self.states.pop(ref)
        status, error = self.states[ref]
        return {"status": status, "error_info": error}


def seen_at(uptime_s: float, *, is_master: bool = True, silence: str = "", at_work: bool = False, **pbd: Any) -> Seen:
    pool = Pool("p", True, keeps_ceph=True, ha_enabled=False, is_master=is_master, apply_at_work=at_work)
    pbd = {"attached": True, "pool_silence": "", **pbd}
    pbds = (Pbd("pbd", "pbd", "sr", "shoal", monitors=(), fsid="f", **pbd),)
    return Seen(uptime_s, 0.0, pool, Host("h", "h", "h", enabled=True, told_to_rest=False), None, Ceph(silence), pbds)


def test_what_guests_have_written_is_in_the_pools_record_soon(three: KeeperPool) -> None:
    """The small driver keeps only one of the figures, which the driver of type rbd writes along with the others."""
    three.install_keepers()
    before = int(three.api.SR.get_virtual_allocation(three.sr))
    (three.storage / "rbd" / "written").write_bytes(bytes(4096))
    three.wait(
        lambda: int(three.api.SR.get_virtual_allocation(three.sr)) == before + 4096, "the SR's figures to be written"
    )
    three.wait(
        lambda: not [row for row in three.api.task.get_all_records().values() if "SR.update" in row["name_label"]],
        "no task to stay",
    )


def test_one_at_a_time_and_each_after_a_while() -> None:
    tasks = Tasks()
    usage = Usage(tasks)
    times = [0.0, EVERY_S - 1, EVERY_S, EVERY_S + 1, 2 * EVERY_S, 3 * EVERY_S]
    assert [usage.update(seen_at(at_s)) for at_s in times] == [[]] * 6
    assert tasks.begun == ["sr"], "the one that was begun has not ended"
    tasks.states["task 1"] = ("success", [])
    assert usage.update(seen_at(3 * EVERY_S + 1)) == []
    assert tasks.begun == ["sr", "sr"] and tasks.destroyed == ["task 1"]


@pytest.mark.parametrize(
    "why",
    [
        {"is_master": False},
        {"silence": "no quorum"},
        {"at_work": True},
        {"attached": False},
        {"pool_silence": "not active"},
    ],
)
def test_nothing_is_asked_while_it_would_hinder_or_hang(why: dict[str, Any]) -> None:
    tasks = Tasks()
    usage = Usage(tasks)
    for at_s in (0.0, EVERY_S, 2 * EVERY_S):
        assert usage.update(seen_at(at_s, **why)) == []
    assert tasks.begun == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (["SR_BACKEND_FAILURE_47", "", "no monitor answers", ""], "SR_BACKEND_FAILURE_47, no monitor answers"),
        (["OTHER_OPERATION_IN_PROGRESS", "SR", "sr"], None),
        (["HANDLE_INVALID", "SR", "sr"], None),
    ],
)
def test_what_failed_is_told_unless_somebody_else_was_at_it(error: list[str], said: str | None) -> None:
    tasks = Tasks()
    usage = Usage(tasks)
    usage.update(seen_at(0.0))
    usage.update(seen_at(EVERY_S))
    tasks.states["task 1"] = ("failure", error)
    told = usage.update(seen_at(EVERY_S + 1))
    assert told == ([] if said is None else [f"cannot tell how full SR shoal is: {said}"])
    usage.update(seen_at(2 * EVERY_S))
    assert tasks.begun == ["sr", "sr"], "and it is tried again"


def test_a_toolstack_that_has_restarted_is_asked_anew() -> None:
    tasks = Tasks()
    usage = Usage(tasks)
    usage.update(seen_at(0.0))
    usage.update(seen_at(EVERY_S))
    tasks.states.clear()
    assert usage.update(seen_at(2 * EVERY_S)) == [] and tasks.begun == ["sr", "sr"]
