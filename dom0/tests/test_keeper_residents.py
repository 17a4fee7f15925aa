"""Since when the VMs run that a host will be owed if it goes down: by that a start of theirs meanwhile is known."""

from __future__ import annotations

from typing import Any

from dom0.shoal_keeper.observe import Observer, read_time
from dom0.tests.test_keeper_decide import HOST

TIMES = ["20260101T00:00:00Z", "20260102T00:00:00Z"]


class Toolstack:
    """One VM that runs here, marked to start."""

    def __init__(self) -> None:
        self.domid, self.time, self.asked = "7", TIMES[0], 0

    def call(self, method: str, *_: str) -> Any:
        if method == "VM_metrics.get_start_time":
            self.asked += 1
            return self.time
        marks = {"is_a_template": False, "is_a_snapshot": False, "is_control_domain": False}
        vm = {"uuid": "v", "domid": self.domid, "metrics": "m", "resident_on": HOST.ref, "other_config": {"auto_poweron": "true"}}
        return {"vm": {**marks, **vm}}


def test_a_start_time_that_is_written_after_the_domain_is_seen_and_then_not_asked_for_again() -> None:
    toolstack = Toolstack()
    observer = Observer(toolstack)
    seen = []
    for _ in range(4):
        seen.append(observer._residents(HOST))
    assert set(seen) == {(("v", read_time(TIMES[0])),)} and toolstack.asked == 2
    toolstack.domid = "8"  # the guest reboots
    observer._residents(HOST)
    toolstack.time = TIMES[1]
    for _ in range(4):
        seen.append(observer._residents(HOST))
    assert seen[-1] == (("v", read_time(TIMES[1])),) and toolstack.asked == 5
