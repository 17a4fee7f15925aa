"""A host that has just become the master starts the VMs that it can itself: the others' toolstacks restart, to follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dom0.shoal_keeper import failover, failover_roster
from dom0.shoal_keeper.failover import Guest, Peer, Sight
from dom0.shoal_keeper.failover_presence import SHUN_FIRST_S
from dom0.shoal_keeper.failover_succession import HEIR_PATIENCE_S, HOME_S, LATEST_S, LOCK
from dom0.tests.test_keeper_failover_masters import TELL, World

A = Peer("a", True, True, True, free_memory_bytes=4)
C = Peer("c", True, True, True, free_memory_bytes=9)
GUEST = Guest("v", "Halted", "", True, "a", memory_bytes=3, srs=frozenset({"sr"}))


def places(*guests: Guest, own: Peer = A, stays_home: bool = True) -> list[tuple[str, str]]:
    sight = Sight("a", True, 0.0, (own, C), guests, {}, frozenset(), stays_home=stays_home)
    return [(step.vm, step.place) for step in failover.decide(sight)]


def test_a_new_master_starts_vms_itself_though_another_host_has_more_memory() -> None:
    assert places(GUEST, stays_home=False) == [("v", "c")]
    assert places(GUEST) == [("v", "a")]


def test_what_has_just_failed_there_is_not_tried_elsewhere_meanwhile() -> None:
    failed = GUEST._replace(avoids=frozenset({"a"}))
    assert places(failed, stays_home=False) == [("v", "c")]
    assert places(failed) == []


def test_what_cannot_start_there_starts_elsewhere() -> None:
    assert places(GUEST, GUEST._replace(uuid="w")) == [("v", "a"), ("w", "c")]
    for own in (A._replace(can_start=False), A._replace(lacks=frozenset({"sr"}))):
        assert places(GUEST, own=own) == [("v", "c")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch, master="b")


def succeed(world: World, monkeypatch: pytest.MonkeyPatch, *, taken_s_ago: float = 0.0) -> None:
    """The keeper of a has made its host the master, whose toolstack answers in the next round."""
    world.role.write_text("master")
    watch = world.watch
    watch._succession.is_new_master, watch._succession._taken_at = True, world.clock - taken_s_ago
    known = watch._roster._replace(master="a")
    monkeypatch.setattr(failover_roster, "read", lambda *_: known)
    world.locks[LOCK] = "a"
    world.answers = {"pool.get_all": ["pool"], TELL: "task"}


def test_the_masters_place_is_held_after_what_is_urgent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken a moment ago, for three minutes, and nobody else's turn comes within one."""
    succeed(world, monkeypatch)
    world.rounds(3)
    assert "pool.get_all" not in world.asked
    world.rounds(LATEST_S)
    assert world.asked.count("pool.get_all") == 1


def test_a_masters_place_that_was_taken_a_while_ago_is_held_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed(world, monkeypatch, taken_s_ago=HEIR_PATIENCE_S)
    world.rounds(3)
    assert world.asked.count("pool.get_all") == 1


def test_the_others_are_told_when_what_starts_there_has_been_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They restart when they are told. The round in which the toolstack first answers has yet to begin a start."""
    watch = world.watch
    succeed(world, monkeypatch)
    monkeypatch.setattr(watch, "_work", lambda _: watch._actor.starts.update(v=("task", "a")) or 0.0)
    monkeypatch.setattr(watch._actor, "collect", lambda: [])
    world.rounds(9)
    assert watch._actor.starts and TELL not in world.asked
    watch._actor.starts.clear()
    monkeypatch.setattr(watch, "_work", lambda _: 0.0)
    world.rounds(3)
    assert world.asked.count(TELL) == 1


@pytest.mark.parametrize(("place", "later_s"), [("a", LATEST_S), ("", LATEST_S), ("c", 0.0)])
def test_they_are_told_soon_whatever_becomes_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str, later_s: float
) -> None:
    """And at once when it is another host that starts something: only one that follows this master can."""
    succeed(world, monkeypatch)
    world.watch._actor.starts["v"] = ("task", place)
    monkeypatch.setattr(world.watch._actor, "collect", lambda: [])
    monkeypatch.setattr(world.watch, "_work", lambda _: 0.0)
    world.rounds(3)
    world.rounds(later_s - 3.0)
    assert TELL not in world.asked
    world.rounds(3)
    assert world.asked.count(TELL) == 1


def test_a_start_that_failed_there_is_tried_again_soon_and_as_soon_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, presence = world.watch, world.watch._presence
    monkeypatch.setattr(watch._actor, "collect", lambda: [("v", "a", "SR_BACKEND_FAILURE_127")])
    succeed(world, monkeypatch)
    watch._refresh_roster()
    for _ in range(3):
        world.clock += 10.0
        watch._collect()
        assert presence.next_try_at(world.clock) == world.clock + SHUN_FIRST_S
    world.clock += HOME_S
    watch._collect()
    assert presence.next_try_at(world.clock) > world.clock + SHUN_FIRST_S, "an ordinary host again"
    assert not watch._succession.stays_home(world.clock)
