"""A start that does not end hinders no other VM and no other place, and its own VM is begun nowhere else meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dom0.shoal_keeper import act, failover, failover_act, failover_look
from dom0.shoal_keeper.act import HANGS_S
from dom0.shoal_keeper.decide import ACTIONS_MAX, decide
from dom0.shoal_keeper.failover import CLAIM_MARK, START, Guest, Peer, Sight, Step
from dom0.shoal_keeper.failover_act import STARTS_MAX
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.failover_watch import Watch
from dom0.shoal_keeper.state import Action
from dom0.tests.test_keeper_decide import OWING, SEEN, vm

HOSTS = ("a", "b", "c")
ROSTER = Roster("a", "a", {name: Place(name, name, (), "vm-" + name) for name in HOSTS}, (("rbd", ""),), ())
PEERS = tuple(Peer(name, True, True, True, free_memory_bytes=size) for name, size in zip(HOSTS, (1, 2, 9), strict=True))


class Toolstack:
    """Its tasks end when it is told so."""

    def __init__(self) -> None:
        self.ended: dict[str, tuple[str, list[str]]] = {}
        self.begun: list[tuple[str, str]] = []  # VM and place

    def call(self, method: str, *words: Any) -> Any:
        if method in ("Async.VM.start_on", "Async.VM.start"):
            self.begun.append((words[0], words[1] if method.endswith("_on") else ""))
            return "task-" + words[0]
        if method == "task.get_record":
            status, why = self.ended.get(words[0], ("pending", []))
            return {"status": status, "error_info": why}
        return {CLAIM_MARK: "a"} if method == "VM.get_other_config" else words[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    for module in (act, failover_act):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    return now


@pytest.fixture
def toolstack() -> Toolstack:
    return Toolstack()


@pytest.fixture
def actor(toolstack: Toolstack, clock: list[float]) -> failover_act.Actor:
    """All that may be begun is begun, on c, which has most memory, and hangs."""
    made = failover_act.Actor(toolstack.call, None)
    for number in range(STARTS_MAX):
        assert begin(made, f"v{number}", "c")
    return made


def begin(actor: failover_act.Actor, vm: str, place: str) -> bool:
    return bool(actor.perform(Step(START, "why", vm=vm, place=place), ROSTER))


def sight(*vms: str) -> Sight:
    guests = tuple(Guest(name, "Halted", "", True, "a", memory_bytes=1) for name in vms)
    return Sight("a", True, 0.0, PEERS, guests, {}, frozenset())


def places(seen: Sight) -> dict[str, str]:
    return {step.vm: step.place for step in failover.decide(seen) if step.kind == START}


def test_others_are_started_once_those_that_are_under_way_hang(actor: failover_act.Actor, clock: list[float]) -> None:
    clock[0] += HANGS_S - 1
    assert not begin(actor, "w", "b")
    clock[0] += 1
    assert begin(actor, "w", "b")


def test_they_are_started_elsewhere(actor: failover_act.Actor, clock: list[float]) -> None:
    assert places(actor.avoid_hanging(sight("w"))) == {"w": "c"}
    clock[0] += HANGS_S
    assert places(actor.avoid_hanging(sight("w"))) == {"w": "b"}


def test_where_a_start_hangs_on_every_host_all_are_as_good_as_before(actor: failover_act.Actor, clock: list[float]) -> None:
    clock[0] += HANGS_S
    assert begin(actor, "w", "b") and begin(actor, "x", "a")
    clock[0] += HANGS_S
    assert places(actor.avoid_hanging(sight("y"))) == {"y": "c"}


def test_a_vm_whose_start_hangs_is_begun_nowhere_else_until_it_has_failed(
    actor: failover_act.Actor, toolstack: Toolstack, clock: list[float]
) -> None:
    clock[0] += HANGS_S
    assert actor.collect() == [] and not begin(actor, "v0", "b")
    toolstack.ended["task-v0"] = ("failure", ["INTERNAL_ERROR"])
    assert actor.collect() == [("v0", "c", "INTERNAL_ERROR")]
    assert begin(actor, "v0", "b")


def test_a_late_success_is_one_and_its_place_is_good_again(
    actor: failover_act.Actor, toolstack: Toolstack, clock: list[float]
) -> None:
    clock[0] += HANGS_S
    toolstack.ended = {f"task-v{number}": ("success", []) for number in range(STARTS_MAX)}
    assert {why for _, _, why in actor.collect()} == {""} and not actor.hanging()
    assert places(actor.avoid_hanging(sight("w"))) == {"w": "c"}


def test_a_look_is_without_the_places_where_a_start_hangs(
    actor: failover_act.Actor, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    watch = Watch(lambda sentence, _: said.append(sentence))
    monkeypatch.setattr(watch, "_actor", actor)
    monkeypatch.setattr(failover_look, "look", lambda *_: sight("w"))
    assert places(watch._look({})) == {"w": "c"} and said == []
    clock[0] += HANGS_S
    assert places(watch._look({})) == {"w": "b"}
    assert "failover: the start of the VM v0 on host c does not end" in said


def start_all(toolstack: Toolstack) -> act.Actor:
    """As many of the keeper's own starts as may be begun; none of them ends."""
    made = act.Actor(SimpleNamespace(call=toolstack.call))
    for number in range(ACTIONS_MAX):
        name = f"vm{number}"
        assert made._begin(Action("start_vm", "start_vm/" + name, name, name, "why", vm=name)) is None
    return made


def test_the_keepers_own_starts_that_hang_hold_up_no_vm_and_are_told_of(toolstack: Toolstack, clock: list[float]) -> None:
    actor = start_all(toolstack)
    vms = tuple(vm(f"vm{number}", order=1) for number in range(ACTIONS_MAX)) + (vm("late", order=1), vm("next", order=2))
    seen = SEEN._replace(vms=vms, under_way=actor.under_way())
    assert decide(seen._replace(hanging=actor.hanging()), OWING).actions == ()
    clock[0] += HANGS_S
    first = decide(seen._replace(hanging=actor.hanging()), OWING)
    assert [action.name for action in first.actions] == ["late"], "those that hang are under way still"
    assert {trouble.name for trouble in first.troubles} == {"SHOAL_VM_NOT_STARTED"}
    without_late = tuple(each for each in vms if each.name != "late")
    second = decide(seen._replace(vms=without_late, hanging=actor.hanging()), OWING)
    assert [action.name for action in second.actions] == ["next"], "the next order does not wait for them"


def test_one_of_the_keepers_own_that_ends_late_has_started(toolstack: Toolstack, clock: list[float]) -> None:
    actor = start_all(toolstack)
    clock[0] += HANGS_S
    toolstack.ended["task-vm0"] = ("success", [])
    assert [(one.action.name, one.how) for one in actor.collect()] == [("vm0", act.DONE)]
    assert "start_vm/vm0" not in actor.under_way() + actor.hanging()
