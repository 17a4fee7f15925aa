"""What people are told: each trouble once, whoever sees it and however often keepers start, and no longer than it lasts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from shoal_keeper import alerts
from shoal_keeper.alerts import Alerts
from shoal_keeper.ceph_troubles import ERROR, FULL, MON_AWAY, OSD_DOWN, judge
from shoal_keeper.decide import decide
from shoal_keeper.memory import Memory
from shoal_keeper.state import Ceph, Check, Decision, Host, Osd, Pbd, Pool, Seen, Trouble

POOL = Pool("pool", is_marked=True, keeps_ceph=True, ha_enabled=False, is_master=True, apply_at_work=False)
HOST = Host("OpaqueRef:here", "host", "xen1", enabled=True, told_to_rest=False)
CEPH = Ceph("", "fsid", ("10.77.0.21:6789",), "HEALTH_WARN")
PBD = Pbd("OpaqueRef:pbd", "pbd", "OpaqueRef:sr", "shoal", attached=True, monitors=CEPH.monitors, fsid="fsid")
SEEN = Seen(100.0, 0.0, POOL, HOST, None, CEPH, (PBD,))
NEARLY_FULL = Check("OSD_NEARFULL", "1 nearfull osd(s)")


class Toolstack:
    """What xapi keeps of messages."""

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count()

    def call(self, method: str, *arguments: Any) -> Any:
        if method == "message.get":
            kind, uuid, _ = arguments
            return {ref: row for ref, row in self.messages.items() if (row["cls"], row["obj_uuid"]) == (kind, uuid)}
        if method == "message.destroy":
            return self.messages.pop(arguments[0])
        assert method == "message.create"
        ref = f"OpaqueRef:{next(self._numbers)}"
        self.messages[ref] = dict(zip(("name", "priority", "cls", "obj_uuid", "body"), arguments, strict=True))
        return ref

    def names(self) -> list[str]:
        return sorted(row["name"] for row in self.messages.values())


def of_pool(name: str = "SHOAL_X") -> Decision:
    return Decision((), "", (Trouble(name, "It is so.", of_pool=True),))


CALM = Decision((), "")
AS_MEMBER = SEEN._replace(pool=POOL._replace(is_master=False))


def names(seen: Seen) -> list[str]:
    return [trouble.name for trouble in judge(seen)[0]]


@pytest.mark.parametrize(
    ("ceph", "wanted"),
    [
        (CEPH, []),
        (CEPH._replace(checks=(Check("OSDMAP_FLAGS", "noout flag(s) set"),)), []),
        (CEPH._replace(checks=(NEARLY_FULL, Check("POOL_NEARFULL", "1 pool(s) nearfull"))), [FULL]),
        (CEPH._replace(health="HEALTH_ERR", checks=(Check("OSD_FULL", "1 full osd(s)"),)), [FULL, ERROR]),
        (CEPH._replace(osds_down=(Osd(2, "shoal-storage-xen3"),)), [OSD_DOWN]),
        (CEPH._replace(monitors_away=("shoal-storage-xen3",)), [MON_AWAY]),
    ],
)
def test_what_is_told_of_ceph(ceph: Ceph, wanted: list[str]) -> None:
    assert names(SEEN._replace(ceph=ceph)) == wanted
    assert names(AS_MEMBER._replace(ceph=ceph)) == [], "each keeper tells of it"
    assert names(SEEN._replace(ceph=ceph, pool=POOL._replace(keeps_ceph=False))) == []


def test_what_is_away_while_a_host_is_serviced_is_not_judged_and_the_rest_is() -> None:
    ceph = CEPH._replace(checks=(NEARLY_FULL,), osds_down=(Osd(2, "shoal-storage-xen3"),))
    seen = SEEN._replace(ceph=ceph, resting=("xen3",))
    assert (names(seen), judge(seen)[1]) == ([FULL], {OSD_DOWN, MON_AWAY})


def test_a_master_that_rests_tells_of_ceph_all_the_same() -> None:
    seen = SEEN._replace(host=HOST._replace(told_to_rest=True), ceph=CEPH._replace(checks=(NEARLY_FULL,)))
    assert [trouble.name for trouble in decide(seen, Memory("boot")).troubles or ()] == [FULL]


def test_a_restarted_keeper_finds_what_was_raised_and_takes_it_back_when_it_is_over() -> None:
    toolstack = Toolstack()
    assert Alerts(toolstack).update(of_pool(), SEEN) == ["raises SHOAL_X"]
    again = Alerts(toolstack)
    assert again.update(of_pool(), SEEN) == [] and toolstack.names() == ["SHOAL_X"]
    assert again.update(CALM, SEEN) == ["takes back SHOAL_X"] and toolstack.names() == []


def test_a_new_master_goes_on_with_what_the_old_one_has_raised() -> None:
    toolstack = Toolstack()
    old, new = Alerts(toolstack), Alerts(toolstack)
    old.update(of_pool(), SEEN)
    assert new.update(CALM, AS_MEMBER) == []
    assert (old.update(CALM, AS_MEMBER), new.update(of_pool(), SEEN)) == ([], []) and toolstack.names() == ["SHOAL_X"]
    assert new.update(CALM, SEEN) == ["takes back SHOAL_X"]


def test_what_cannot_be_judged_stays_told_and_goes_on_lasting() -> None:
    toolstack = Toolstack()
    keeper = Alerts(toolstack)
    told = Decision((), "", (Trouble(OSD_DOWN, "", 10.0, of_pool=True), Trouble(FULL, "", of_pool=True)))
    keeper.update(told, SEEN)
    unknown = CALM._replace(unjudged=frozenset({FULL, OSD_DOWN}))
    assert keeper.update(unknown, SEEN._replace(uptime_s=105.0)) == [] and toolstack.names() == [FULL]
    assert keeper.update(told, SEEN._replace(uptime_s=110.0)) == [f"raises {OSD_DOWN}"]


def test_what_a_person_dismissed_does_not_come_back_while_it_lasts() -> None:
    toolstack = Toolstack()
    keeper = Alerts(toolstack)
    keeper.update(of_pool(), SEEN)
    toolstack.messages.clear()
    assert keeper.update(of_pool(), SEEN._replace(uptime_s=101.0 + alerts.LOOK_AGAIN_S)) == []


def test_what_others_said_of_this_host_is_taken_back_by_itself_twice_told_or_not() -> None:
    toolstack = Toolstack()
    keeper = Alerts(toolstack)
    keeper.update(CALM, AS_MEMBER)
    for _ in range(2):
        alerts.create(toolstack.call, "Host", "host", "SHOAL_HOST_DEAD", "It is dead.")
    assert keeper.update(CALM, AS_MEMBER) == []
    later = AS_MEMBER._replace(uptime_s=100.0 + alerts.LOOK_AGAIN_S)
    assert keeper.update(CALM, later) == ["takes back SHOAL_HOST_DEAD"] and toolstack.names() == []


def test_one_message_tells_of_all_vms_and_is_not_long() -> None:
    toolstack = Toolstack()
    bodies = [f"The VM {name} does not start." for name in range(1000)]
    decision = Decision((), "", tuple(Trouble("SHOAL_VM_NOT_STARTED", body) for body in bodies))
    Alerts(toolstack).update(decision, SEEN)
    (message,) = toolstack.messages.values()
    assert message["body"].startswith("\n".join(bodies[:9])) and len(message["body"]) <= alerts.BODY_MAX


