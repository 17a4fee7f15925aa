"""What the chaos run measures, on made-up stories."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.chaos.campaign import choose
from tests.chaos.defaults import settings_in
from tests.chaos.faults import FAULTS, SHOWN, rarely
from tests.chaos.figures import Place, longest_silence_s, rows
from tests.chaos.judge import Heard
from tests.chaos.measure import Case, take
from tests.chaos.osds import false_alarms, joined
from tests.chaos.run import moves
from tests.chaos.schedule import Kind, draw


def acks(vm: str, host: str, *times: float, late: bool = False) -> list[Heard]:
    return [Heard(at, host, vm, "ack", number, late=late) for number, at in enumerate(times, 1)]


HEARD = [
    *acks("a", "xen1", 8, 9, 10.5, 22.5, 23, 70),
    *acks("b", "xen2", 8, 9),
    *acks("b", "xen2", 60, late=True),
    *acks("b", "xen3", 55, 56, 71),
]
PLACES = [
    *(Place(0, "b", "xen2"), Place(38, "b", ""), Place(40, "b", "xen3")),
    *(Place(0, "a", "xen1"), Place(65, "b", "xen3")),
]


def case(name: str, **times: float) -> Case:
    (fault,) = choose([name])
    return Case(fault, "xen2", {"a": "xen1", "b": "xen2"}, **times)


def test_a_crash_stalls_the_others_and_moves_its_vm() -> None:
    found = take(case("crash", began_s=10, struck_s=11, ended_s=50, whole_s=72), HEARD, PLACES)
    assert found == {"io_stall_s": 47.0, "vm_elsewhere_s": 29.0, "vm_writes_elsewhere_s": 44.0, "whole_again_s": 22.0}


def test_a_vm_that_never_came_is_not_measured_as_quick() -> None:
    found = take(case("crash", began_s=10, struck_s=11, ended_s=30, whole_s=54), HEARD[:8], PLACES)
    assert found["vm_elsewhere_s"] is None
    assert found["vm_writes_elsewhere_s"] is None


def test_the_host_that_was_hit_is_not_elsewhere() -> None:
    """The pool goes on to say that the VM runs there; that it runs elsewhere was not seen."""
    places = [Place(12, "b", "xen2")]
    found = take(case("crash", began_s=10, struck_s=11, ended_s=50, whole_s=72), HEARD, places)
    assert found["vm_elsewhere_s"] is None
    assert found["vm_writes_elsewhere_s"] == 44.0


def test_a_power_cut_is_measured_from_when_the_hosts_are_up() -> None:
    heard = [*acks("a", "xen2", 5, 90, 92), *acks("b", "xen2", 5, 95)]
    places = [Place(0, "a", "xen1"), Place(61, "a", "xen1"), Place(62, "a", ""), Place(80, "a", "xen2")]
    places += [Place(62, "b", ""), Place(84, "b", "xen2")]
    found = take(case("powercut", began_s=10, struck_s=11, up_s=50, ended_s=58, whole_s=100), heard, places)
    assert found == {"all_running_s": 34.0, "all_writing_s": 45.0, "whole_again_s": 42.0}


def test_a_stall_is_the_longest_silence_that_reaches_into_the_span() -> None:
    heard = acks("a", "xen1", 1, 2, 31, 32)
    assert longest_silence_s(heard, "a", 1.5, 35) == 29.0
    assert longest_silence_s(heard, "a", 3, 5) == 0.0  # not over yet: nothing to say


def test_an_aim_stands_beside_its_figure() -> None:
    assert rows({"crash io_stall_s": [9.0, 12.0], "cut io_stall_s": [7.0], "none": []}) == {
        "crash io_stall_s": {"count": 2, "median_s": 10.5, "worst_s": 12.0, "aim_s": 10.0},
        "cut io_stall_s": {"count": 1, "median_s": 7.0, "worst_s": 7.0},
    }


def test_a_seed_gives_the_same_faults_and_each_comes() -> None:
    kinds = [Kind("crash", 1, 5, weight=2), Kind("cut", 1, 5)]
    first, again = (list(islice(draw(7, kinds, ["xen1", "xen2"]), 6)) for _ in range(2))
    assert first == again
    assert sorted(event.fault for event in first[:3]) == ["crash", "crash", "cut"]
    assert first != list(islice(draw(8, kinds, ["xen1", "xen2"]), 6))


def test_what_other_tests_show_comes_less_often() -> None:
    weights = {fault.kind.name: fault.kind.weight for fault in rarely(FAULTS)}
    assert len(weights) == len(FAULTS)
    assert {name for name, weight in weights.items() if weight == 1} == set(SHOWN)
    assert set(weights.values()) == {1, 2}


def test_faults_are_chosen_by_name() -> None:
    assert choose([]) == list(FAULTS)
    assert len(choose(SHOWN)) == len(SHOWN)
    with pytest.raises(ValueError, match="no faults called flood; there are crash"):
        choose(["crash", "flood"])


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"a": "xen1", "b": "xen2", "c": "xen3"}, {}),
        ({"a": "xen1", "b": "xen1", "c": "xen3"}, {"b": "xen2"}),
        ({"a": "xen1", "b": "xen1", "c": "xen1"}, {"b": "xen2", "c": "xen3"}),
    ],
)
def test_every_host_gets_a_witness_again(where: dict[str, str], expected: dict[str, str]) -> None:
    assert moves(where, ["xen1", "xen2", "xen3"]) == expected


def dump(**since: int) -> dict[str, list[dict[str, int]]]:
    return {"osds": [{"osd": int(name[1:]), "up": int(at > 0), "up_from": at} for name, at in since.items()]}


TREE = {
    "nodes": [
        {"type": "root", "name": "default", "children": [-1, -2]},
        {"type": "host", "name": "one", "children": [0, 1]},
        {"type": "host", "name": "two", "children": [2]},
    ]
}


def test_an_osd_that_joined_anew_and_was_not_ended_is_a_false_alarm() -> None:
    before, after = joined(dump(o0=5, o1=6, o2=7), TREE), joined(dump(o0=5, o1=31, o2=33), TREE)
    assert false_alarms(before, before, ()) == []
    assert false_alarms(before, after, ()) == [1, 2]
    assert false_alarms(before, after, {"two"}) == [1]
    down = joined(dump(o0=5, o1=0, o2=7), TREE)
    assert false_alarms(before, down, ()) == [1]
    assert false_alarms(down, joined(dump(o0=5, o1=40, o2=7), TREE), ()) == []  # the same one, back again


def test_only_what_was_set_is_set_again() -> None:
    rows = [
        {"section": "global", "name": "osd_heartbeat_grace", "value": "5"},
        {"section": "osd.1", "name": "osd_heartbeat_grace", "value": "9"},
        {"section": "mon", "name": "paxos_propose_interval", "value": "0.1"},
    ]
    assert settings_in(rows, {"osd_heartbeat_grace", "mon_lease"}) == {
        ("global", "osd_heartbeat_grace"): "5",
        ("osd.1", "osd_heartbeat_grace"): "9",
    }
