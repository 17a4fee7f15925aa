"""Rounds of failover in which something does not answer: what it waits for hinders nothing that must be done before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import failover_presence, failover_roster, failover_succession, failover_watch, observe
from dom0.shoal_keeper.failover import Peer, Sight
from dom0.shoal_keeper.failover_lost_master import LOST_MASTER_TIMEOUT_S
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.failover_succession import LOCK, SUCCESSOR
from dom0.shoal_keeper.failover_watch import DOUBT_S, Watch
from dom0.shoal_keeper.services import Silent
from dom0.shoal_keeper.toolstack import CALL_TIMEOUT_S, Unreachable

MACHINES = frozenset({"vm-a", "vm-b", "vm-c"})


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """The keeper of a; b is the master, and dead: a member's toolstack answers nothing."""
    places = {name: Place(name, "address-" + name, (), "vm-" + name) for name in ("a", "b", "c")}
    monkeypatch.setattr(failover_roster, "FILE", str(tmp_path / "failover.json"))
    monkeypatch.setattr(failover_presence, "answers", lambda address: address != "address-b")
    failover_roster.save(Roster("a", "b", places, (("rbd", ""),), ("192.0.2.1:7443",)))
    made = Watch(lambda *_: None)

    def call(method: str, *_: str) -> Any:
        raise Unreachable("no master")

    for part in (made._actor, made._succession, made._story):
        monkeypatch.setattr(part, "_call", call)
    return made


def test_a_vm_that_is_being_started_does_not_keep_a_dead_master_from_being_succeeded(watch: Watch) -> None:
    watch._actor.starts["v"] = ("task", "c")
    with pytest.raises(Unreachable):
        watch._collect()
    now, well = observe.read_uptime_s(), MACHINES - {"vm-b"}
    for later_s in range(0, 30, 5):
        watch._dead = watch._listen((well, well, MACHINES), now + later_s)
    assert watch._dead == {"b"}
    assert not watch._collect()
    assert "v" in watch._actor.starts, "it is asked after when there is a master"


def test_a_round_after_the_other_until_the_dead_master_is_succeeded(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a start in hand. Its own toolstack answers as the master then; c, which was off, is told when it is back."""
    clock, well, asked, locks = [1000.0], [MACHINES - {"vm-b", "vm-c"}], [], {}  # type: ignore[var-annotated]
    (tmp_path / "inventory").write_text("INSTALLATION_UUID='a'\n")
    monkeypatch.setattr(observe, "INVENTORY", str(tmp_path / "inventory"))
    monkeypatch.setattr(observe, "read_uptime_s", lambda: clock[0])
    monkeypatch.setattr(failover_succession, "ROLE_FILE", str(tmp_path / "pool.conf"))
    monkeypatch.setattr(failover_succession, "_ask", lambda _session, method, *_: asked.append(method))
    services = watch._services
    for name, answer in {
        "members": lambda: (well[0], well[0], MACHINES),
        "lock_owner": lambda _place, name: locks.get(name),
        "take_lock": lambda _place, name, owner, *_: locks.setdefault(name, owner),
        "release_lock": lambda _place, name, owner: locks.pop(name) if locks.get(name) == owner else None,
        "owners": lambda _places: ([], frozenset()),
        "fenced": lambda _place: frozenset(),
    }.items():
        monkeypatch.setattr(services, name, answer)
    silent = {"address-b", "address-c"}
    monkeypatch.setattr(failover_presence, "answers", lambda address: address not in silent)

    def rounds(count: int) -> None:
        for _ in range(count):
            clock[0] += 3.0
            try:
                watch.run_round()
            except Unreachable:
                continue

    watch._actor.starts["v"] = ("task", "c")
    locks[LOCK] = "b"  # as the master it was
    rounds(10)
    assert asked[-1] == "pool.emergency_transition_to_master" and watch._succession.is_new_master
    assert locks == {LOCK: "a", SUCCESSOR + "b": "a"}
    (tmp_path / "pool.conf").write_text("master")
    known = watch._roster._replace(master="a")
    watch._succession.settle(watch._roster, known, clock[0])
    watch._roster = known
    told: list[str] = []
    monkeypatch.setattr(watch._succession, "_call", lambda method, *_: method.startswith("Async") and told.append(method))
    rounds(200)
    assert 5 < len(told) < 15, "for five minutes"
    told.clear()
    silent.remove("address-c")
    well[0] = MACHINES - {"vm-b"}
    rounds(3)
    assert told == ["Async.pool.recover_slaves"]


def test_what_ceph_does_not_answer_in_the_middle_of_a_fence_is_tried_again_at_once(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its monitors vote while a host dies."""

    def silent(*_: Any) -> None:
        raise Silent("no quorum")

    dead, own = Peer("b", False, False, False, 60.0), Peer("a", True, True, True)
    sight = Sight("a", True, 0.0, (own, dead), (), {"b": "a"}, frozenset(), clients=frozenset({("b", "192.0.2.2:0/7")}))
    monkeypatch.setattr(watch, "_look", lambda _: sight)
    monkeypatch.setattr(watch._services, "members", silent)
    with pytest.raises(Silent):
        watch._work(frozenset())
    assert watch._next_look_at == 0.0


def test_a_host_that_dies_while_another_is_being_fenced_is_looked_at_at_once(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover_presence, "answers", lambda _: False)
    now, well = observe.read_uptime_s(), MACHINES - {"vm-b", "vm-c"}
    for earlier_s in (30.0, 25.0, 20.0, 15.0, 10.0):
        watch._listen((well, well, MACHINES), now - earlier_s)
    watch._dead, watch._next_look_at = {"b"}, now + 20.0
    monkeypatch.setattr(watch._services, "members", lambda: (well, well, MACHINES))
    assert watch._is_still_dead("b") and watch._dead == {"b", "c"}
    assert watch._next_look_at == 0.0


def test_who_was_not_waited_for_in_full_is_asked_again_before_it_is_shut_out(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, well = observe.read_uptime_s(), MACHINES - {"vm-b"}
    for earlier_s in (20.0, 15.0, 10.0, 5.0, 0.0):
        watch._dead = watch._listen((well, well, MACHINES), now - earlier_s)
    monkeypatch.setattr(watch._services, "members", lambda: (well, well, MACHINES))
    monkeypatch.setattr(failover_presence, "answers", lambda _: True)  # it is back
    assert watch._is_still_dead("b"), "what was just heard is good enough"
    watch._presence._doubtful.add("b")
    assert not watch._is_still_dead("b")


def test_a_toolstack_is_given_its_time_again_once_it_follows_another_master(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large pool's records take longer than one waits for a master that is missed; the roster is read from them."""
    role, well = tmp_path / "pool.conf", MACHINES - {"vm-b"}
    monkeypatch.setattr(failover_succession, "ROLE_FILE", str(role))
    for master, timeout_s in (("b", LOST_MASTER_TIMEOUT_S), ("c", CALL_TIMEOUT_S)):
        role.write_text("slave:address-" + master)
        watch._listen((well, well, MACHINES), observe.read_uptime_s())
        assert watch._toolstack.timeout_s == timeout_s


def test_a_doubt_that_ceph_cannot_resolve_yet_stays(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Ceph pool is not active for the first minutes: whether somebody took this host's place is seen after that."""

    def silent(*_: Any) -> None:
        raise Silent("not active")

    services = watch._succession._services
    monkeypatch.setattr(services, "lock_owner", silent)
    watch._doubt_until = 1000.0 + DOUBT_S
    for now in (1000.0, 1059.0, 1110.0):
        watch._resolve_doubt(now)
    monkeypatch.setattr(services, "lock_owner", lambda *_: "b")
    monkeypatch.setattr(watch._succession, "_call", lambda method, *_: {"p": {"master": "a"}} if "pool" in method else "a")
    watch._resolve_doubt(1150.0)
    assert watch._doubt_at == 1150.0 + failover_watch.DOUBT_AGAIN_S


def test_a_vm_that_may_be_tried_again_soon_is_waited_for_in_short_rounds(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failover_presence, "answers", lambda _: True)
    monkeypatch.setattr(watch._services, "members", lambda: (MACHINES, MACHINES, MACHINES))
    monkeypatch.setattr(watch, "_refresh_roster", lambda: None)
    watch._doubt_until, watch._next_look_at, now = 0.0, failover_watch.NEVER, observe.read_uptime_s()
    assert watch.run_round() == failover_watch.WATCH_S
    watch._presence.shun("v", "b", now)
    watch._next_look_at = failover_watch.NEVER
    assert watch.run_round() == failover_watch.HURRY_S
    watch._presence._shunned = {("v", "b"): (now + failover_presence.SHUN_S, failover_presence.SHUN_S)}
    assert watch.run_round() == failover_watch.WATCH_S


def test_while_a_host_may_be_dying_nothing_less_urgent_keeps_it_from_being_listened_to(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look waits for what lies on the dying host's OSDs, and Xen takes its time to say what runs here."""
    clock, looks, well = [1000.0], list[float](), MACHINES - {"vm-b"}
    silent = {"address-b"}
    monkeypatch.setattr(observe, "read_uptime_s", lambda: clock[0])
    monkeypatch.setattr(failover_presence, "answers", lambda address: address not in silent)
    monkeypatch.setattr(watch._services, "members", lambda: (well, well, MACHINES))
    monkeypatch.setattr(watch, "_work", lambda _: looks.append(clock[0]) or 1.0)
    monkeypatch.setattr(watch, "_refresh_roster", lambda: None)
    watch._doubt_until = 0.0
    while clock[0] < 1006.0:
        watch.run_round()
        clock[0] += 2.0
    assert looks == [] and watch._looks_for_strays
    watch._actor.starts["v"] = ("task", "c")
    monkeypatch.setattr(watch._actor, "collect", lambda: [])
    watch.run_round()
    watch._actor.starts.clear()
    assert looks == [1006.0], "what is in hand goes on"
    for clock[0] in (1008.0, 1010.0):
        watch.run_round()
    assert looks == [1006.0, 1010.0] and watch._dead == {"b"}
    silent.clear()
    clock[0] = 1012.0
    watch.run_round()
    assert looks[-1] == 1012.0, "it is back"
