"""One master after another: whoever has no news of the last one finds it, and none that cannot be the master stays in the way."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import failover_presence, failover_roster, failover_succession, failover_watch, observe
from dom0.shoal_keeper.failover import SUSPECT_S, Peer, Sight
from dom0.shoal_keeper.failover_lost_master import LOST_MASTER_TIMEOUT_S, UNANSWERED_S
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.failover_succession import AGAIN_S, HEIR_PATIENCE_S, HOLD_EVERY_S, LOCK, REFUSED_S, SUCCESSOR, UNTOLD
from dom0.shoal_keeper.failover_watch import Watch
from dom0.shoal_keeper.services import Silent
from dom0.shoal_keeper.toolstack import CALL_TIMEOUT_S, Refused, Unreachable

MACHINES = frozenset({"vm-a", "vm-b", "vm-c"})
TELL = "Async.pool.recover_slaves"


class World:
    """What the keeper of a sees of the network, of Ceph, of its own toolstack. Three seconds a round."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, master: str) -> None:
        self.clock = 1000.0
        self.dead: set[str] = set()
        self.locks: dict[str, str] = {}
        self.asked: list[str] = []  # of this host's toolstack
        self.patience_s: dict[str, float] = {}  # with it, by call
        self.answers: dict[str, Any] = {}  # what its toolstack says; without an answer it is unreachable
        self.role = folder / "pool.conf"
        (folder / "inventory").write_text("INSTALLATION_UUID='a'\n")
        places = {name: Place(name, "address-" + name, (), "vm-" + name) for name in ("a", "b", "c")}
        monkeypatch.setattr(failover_roster, "FILE", str(folder / "failover.json"))
        monkeypatch.setattr(observe, "INVENTORY", str(folder / "inventory"))
        monkeypatch.setattr(observe, "read_uptime_s", lambda: self.clock)
        monkeypatch.setattr(failover_presence, "answers", lambda address: address.removeprefix("address-") not in self.dead)
        monkeypatch.setattr(failover_succession, "ROLE_FILE", str(self.role))
        monkeypatch.setattr(failover_succession, "_ask", lambda _session, method, *_: self.asked.append(method))
        failover_roster.save(Roster("a", master, places, (("rbd", ""),), ("192.0.2.1:7443",)))
        self.watch = Watch(lambda *_: None)
        for part in (self.watch._actor, self.watch._succession, self.watch._story):
            monkeypatch.setattr(part, "_call", self.call)
        monkeypatch.setattr(self.watch._toolstack, "call", self.call)
        for name in ("members", "lock_owner", "take_lock", "release_lock", "owners", "fenced"):
            monkeypatch.setattr(self.watch._services, name, getattr(self, name))

    def call(self, method: str, *_: str) -> Any:
        self.asked.append(method)
        self.patience_s[method] = self.watch._toolstack.timeout_s
        if method not in self.answers:
            raise Unreachable("no answer")
        return self.answers[method]

    def members(self) -> tuple[frozenset[str], ...]:
        well = MACHINES - {"vm-" + name for name in self.dead}
        return well, well, MACHINES

    def lock_owner(self, _: tuple[str, str], name: str) -> str | None:
        return self.locks.get(name)

    def take_lock(self, _: tuple[str, str], name: str, owner: str, *_more: int) -> str:
        return self.locks.setdefault(name, owner)

    def release_lock(self, _: tuple[str, str], name: str, owner: str) -> None:
        if self.locks.get(name) == owner:
            del self.locks[name]

    def owners(self, _: Any) -> tuple[list[Any], frozenset[Any]]:
        return [], frozenset()

    def fenced(self, _: tuple[str, str]) -> frozenset[str]:
        return frozenset()

    def rounds(self, seconds: float) -> None:
        end = self.clock + seconds
        while self.clock < end:
            self.clock += 3.0
            try:
                self.watch.run_round()
            except Unreachable:
                continue


def test_a_dead_master_is_not_succeeded_while_the_pool_with_its_lock_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_silent(*_: str) -> None:
        raise Silent("no answer")

    world.dead = {"b"}
    monkeypatch.setattr(world.watch._services, "release_lock", be_silent)
    for _ in range(12):
        with contextlib.suppress(Silent):
            world.rounds(3.0)
    assert "pool.emergency_transition_to_master" not in world.asked
    monkeypatch.setattr(world.watch._services, "release_lock", world.release_lock)
    world.rounds(9.0)
    assert "pool.emergency_transition_to_master" in world.asked


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """b was the master when the keeper of a read last who it is."""
    return World(tmp_path, monkeypatch, master="b")


def test_a_master_that_dies_is_succeeded_though_the_one_before_it_is_back(world: World) -> None:
    """b was cut off for a while, c succeeded it, b is back and follows c. a was told, and has read nothing since."""
    world.role.write_text("slave:address-c")
    world.locks[LOCK] = "c"
    world.rounds(30)
    world.dead.add("c")
    world.rounds(60)
    assert "pool.emergency_transition_to_master" in world.asked
    assert world.locks[LOCK] == "a"


def test_a_look_that_shows_another_master_than_is_known_has_it_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no file says whom the toolstack follows."""
    peers = tuple(Peer(name, True, True, True) for name in ("a", "b", "c"))
    monkeypatch.setattr(world.watch, "_look", lambda _: Sight("a", True, 0.0, peers, (), {}, frozenset(), master="c"))
    world.watch._roster_due_at = 2000.0
    world.watch._work(MACHINES)
    assert world.watch._roster_due_at == 0.0
    world.watch._roster, world.watch._roster_due_at = world.watch._roster._replace(master="c"), 2000.0
    world.watch._work(MACHINES)
    assert world.watch._roster_due_at == 2000.0


def test_who_has_no_news_of_the_master_has_it_told(world: World) -> None:
    """b is dead; c succeeded it, died before a heard of it, and is back as the master that its keeper has long known it is."""
    world.role.write_text("slave:address-b")
    world.locks[LOCK] = "c"
    world.dead.add("b")
    world.rounds(30 + 2 * HEIR_PATIENCE_S)
    assert world.locks[UNTOLD + "c"] == "a" and "pool.emergency_transition_to_master" not in world.asked


def test_who_follows_a_host_that_is_no_master_any_more_has_the_master_told(world: World) -> None:
    """b is back as a member of c's. Nothing is asked of Ceph's locks as long as b may be the master."""
    world.role.write_text("slave:address-b")
    world.locks[LOCK] = "b"
    world.rounds(30)
    assert world.locks == {LOCK: "b"}
    world.locks[LOCK] = "c"
    world.rounds(30)
    assert world.locks[UNTOLD + "c"] == "a"


def test_a_master_tells_who_asks_for_it_and_nobody_else(world: World) -> None:
    """Its keeper has been started anew since it succeeded, or it was always the master."""
    world.role.write_text("master")
    world.watch._roster = world.watch._roster._replace(master="a")
    world.answers = {"pool.get_all": ["pool"], TELL: "task"}
    world.rounds(3 * HOLD_EVERY_S)
    assert world.locks == {LOCK: "a"} and TELL not in world.asked
    world.locks[UNTOLD + "a"] = "c"
    world.rounds(2 * HOLD_EVERY_S)
    assert 0 < world.asked.count(TELL) <= 3 and world.locks == {LOCK: "a"}


def test_a_master_whose_toolstack_does_not_answer_does_not_keep_its_place(world: World) -> None:
    """One that succeeded, and whose toolstack does not come up: another host may try when the lock has run out."""
    world.role.write_text("master")
    world.watch._roster = world.watch._roster._replace(master="a")
    world.rounds(3 * HOLD_EVERY_S)
    assert world.locks == {}
    world.answers = {"pool.get_all": ["pool"]}
    world.rounds(2 * HOLD_EVERY_S)
    assert world.locks == {LOCK: "a"}


@pytest.mark.parametrize(("role", "after_s"), [("slave:address-b", 1.0), ("", AGAIN_S)])
def test_an_heir_whose_toolstack_has_found_the_dead_master_back_is_none_any_more(
    world: World, role: str, after_s: float
) -> None:
    """Else the master would step back for it, three times, and the heir's keeper would read the pool in each round."""
    succession, roster = world.watch._succession, world.watch._roster
    world.role.write_text("master")
    succession.is_new_master, succession._taken_at = True, 1000.0
    world.locks = {SUCCESSOR + "b": "a", LOCK: "a", "another": "a"}
    succession.settle(roster, roster, 1000.0 + after_s / 2)
    assert succession.is_new_master, "it may restart as the master yet"
    world.role.write_text(role)
    succession.settle(roster, roster, 1000.0 + after_s)
    assert not succession.is_new_master and world.locks == {"another": "a"}


def test_a_host_that_a_person_made_the_master_does_not_become_it_once_more(world: World) -> None:
    """The roster tells of the dead one still. A large pool's records take longer than one waits for a dead master."""
    world.role.write_text("master")
    world.dead.add("b")
    world.rounds(60)
    assert "pool.emergency_transition_to_master" not in world.asked
    assert world.watch._succession.has_another(world.watch._roster)


def test_a_toolstack_is_asked_in_short_whether_it_has_a_master_before_all_is_looked_at(world: World) -> None:
    """It waits for a dead one as long as it is let. One that has another, of which no file tells, is given its time."""
    world.dead.add("b")
    world.rounds(24)
    assert world.watch._dead == {"b"}
    assert world.patience_s["pool.get_all"] == LOST_MASTER_TIMEOUT_S < 4
    assert "pool.emergency_transition_to_master" in world.asked and "host_metrics.get_all_records" not in world.asked
    world.watch._succession.is_new_master, world.watch._roster_due_at = False, 2000.0
    world.answers = {"pool.get_all": ["pool"]}
    world.rounds(3)
    assert world.patience_s["pool.get_all_records"] == CALL_TIMEOUT_S


def test_a_former_successor_has_nobody_told(world: World) -> None:
    """It follows another master since: that one would be asked to tell all."""
    world.role.write_text("slave:address-c")
    world.watch._succession._tell_until, world.answers = 2000.0, {TELL: "task"}
    world.rounds(30)
    assert TELL not in world.asked


def test_an_heir_whose_toolstack_does_not_come_up_tries_again(world: World) -> None:
    """That makes it restart once more. The file says that it is the master since the first time."""
    world.dead.add("b")
    world.rounds(30)
    assert world.asked.count("pool.emergency_transition_to_master") == 1
    world.role.write_text("master")
    world.rounds(2 * AGAIN_S)
    assert world.asked.count("pool.emergency_transition_to_master") == 2


def test_an_heir_waits_in_short_rounds_for_its_toolstack_to_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody needs to be sure once more that the old master is dead."""
    world.dead.add("b")
    world.rounds(24)
    assert world.watch._succession.is_new_master
    asked: list[str] = []

    def answers(address: str) -> bool:
        asked.append(address)
        time.sleep(0.05 if address == "address-b" else 0.0)
        return address != "address-b"

    monkeypatch.setattr(failover_presence, "answers", answers)
    monkeypatch.setattr(failover_presence, "BRIEF_S", 0.0)
    world.clock += 3.0
    assert world.watch.run_round() == failover_watch.STARTING_S
    assert asked.count("address-b") == 1


def test_a_toolstack_is_asked_for_its_master_before_that_is_dead_and_not_once_more_then(world: World) -> None:
    """A member's lets one wait for two seconds. Whoever has taken the place meanwhile is seen in its file."""
    world.dead.add("b")
    world.rounds(7)
    assert "pool.get_all" not in world.asked
    world.rounds(3)
    assert world.asked.count("pool.get_all") == 1 and world.watch._dead == set()
    assert world.patience_s["pool.get_all"] == LOST_MASTER_TIMEOUT_S
    world.rounds(3)
    assert world.watch._dead == {"b"} and world.asked.count("pool.get_all") == 1
    assert world.asked[-1] == "pool.emergency_transition_to_master"


def test_that_a_toolstack_had_no_master_is_not_believed_for_long(world: World) -> None:
    world.dead.add("b")
    world.rounds(10)
    world.clock += UNANSWERED_S
    world.answers = {"pool.get_all": ["pool"]}  # it has one since
    world.rounds(3)
    assert world.watch._dead == {"b"} and world.asked.count("pool.get_all") == 2
    assert world.patience_s["pool.get_all_records"] == CALL_TIMEOUT_S


def test_a_master_that_is_being_serviced_is_not_asked_for_ahead(world: World) -> None:
    hosts = world.watch._roster.hosts
    world.watch._roster = world.watch._roster._replace(hosts={**hosts, "b": hosts["b"]._replace(rests=True)})
    world.dead.add("b")
    world.rounds(30)
    assert "pool.get_all" not in world.asked


LOGIN, TRANSITION = "session.slave_local_login_with_password", "pool.emergency_transition_to_master"


@pytest.mark.parametrize(
    ("method", "error", "role", "keeps"),
    [
        (TRANSITION, Refused(TRANSITION, ["INTERNAL_ERROR"]), "slave:address-b", False),
        (TRANSITION, Refused(TRANSITION, ["INTERNAL_ERROR"]), "master", True),
        (TRANSITION, Unreachable("no answer"), "slave:address-b", True),
        (LOGIN, Unreachable("no answer"), "slave:address-b", False),
        (LOGIN, Unreachable("no answer"), "master", True),
    ],
)
def test_an_heir_whose_toolstack_refuses_leaves_the_place_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception, role: str, keeps: bool
) -> None:
    """But not one that may come up as the master yet: an answer may be lost, its file may say so already."""
    watch = world.watch
    world.dead.add("b")
    world.rounds(18)
    world.locks.clear()
    watch._succession.is_new_master, watch._succession._taken_at = False, world.clock - AGAIN_S

    def ask(_: str, asked: str, *_more: str) -> str:
        world.asked.append(asked)
        world.role.write_text(role)
        if asked == method:
            raise error
        return "a local session"

    monkeypatch.setattr(failover_succession, "_ask", ask)
    world.asked.clear()
    world.rounds(3)
    assert world.asked.count(method) == 1 and (LOCK in world.locks) is keeps
    world.rounds(3)
    assert world.asked.count(LOGIN) == (2 if method == LOGIN and keeps else 1), "it is left alone for a moment"
    world.rounds(REFUSED_S)
    assert (world.asked.count(method) == 1) is (keeps and method == TRANSITION), "and asked again"


@pytest.mark.parametrize("more_s", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9])
def test_the_question_for_a_dead_master_delays_no_verdict(
    world: World, monkeypatch: pytest.MonkeyPatch, more_s: float
) -> None:
    """It comes as that of a member: after the silence, at most a round (2.5 s, and what it takes more), and the last question (1.5 s)."""

    def answers(address: str) -> bool:
        world.clock += 1.5 if address == "address-b" else 0.0
        return address != "address-b"

    def members() -> tuple[frozenset[str], ...]:
        world.clock += more_s
        return world.members()

    def call(method: str, *_: str) -> Any:
        world.asked.append(method)
        world.clock += LOST_MASTER_TIMEOUT_S
        raise Unreachable("no master")

    monkeypatch.setattr(failover_presence, "answers", answers)
    monkeypatch.setattr(world.watch._services, "members", members)
    monkeypatch.setattr(world.watch._toolstack, "call", call)
    world.watch._roster_due_at, world.watch._doubt_until = 2000.0, 0.0
    world.dead.add("b")
    began, pause_s = world.clock + more_s, 0.0
    while "pool.emergency_transition_to_master" not in world.asked and world.clock < began + 60.0:
        world.clock += pause_s
        pause_s = world.watch.run_round()
    assert world.asked.count("pool.get_all") == 1
    assert world.clock - began <= SUSPECT_S + (2.5 + more_s) + 1.5 + more_s
