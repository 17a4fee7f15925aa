"""A host that comes back while the others are at its VMs, and claims that nobody works on: no VM is left behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import failover, failover_presence, failover_succession
from dom0.shoal_keeper.failover import ABANDONED_S, SUSPECT_S, Guest, Peer, Sight
from dom0.shoal_keeper.failover_claims import Claims
from dom0.shoal_keeper.failover_presence import UNHEARD_S, Presence
from dom0.shoal_keeper.failover_roster import Place, Roster
from dom0.shoal_keeper.failover_succession import LOCK, STEPS_BACK_MAX, SUCCESSOR, Succession
from dom0.tests.test_keeper_failover import World, work

CLIENT = "192.0.2.1:0/7"
A, B = Peer("a", True, True, True, free_memory_bytes=9), Peer("b", True, True, True)
MACHINES = frozenset({"vm-a", "vm-b", "vm-c"})


def seen(*guests: Guest, peers: tuple[Peer, ...] = (A, B), **more: Any) -> Sight:
    return Sight("a", True, 0.0, peers, guests, {}, frozenset({CLIENT}), **more)


def kinds(sight: Sight) -> list[tuple[str, str]]:
    return [(step.kind, step.vm) for step in failover.decide(sight)]


def test_a_claim_is_kept_while_the_host_is_back_and_has_not_said_yet_whether_the_vm_runs() -> None:
    """Its toolstack says soon that it does not. Without the claim nobody would start it then."""
    fenced = Guest("v", "Running", "b", True, "a", holders=frozenset({("b", CLIENT)}))
    assert kinds(seen(fenced)) == []
    assert kinds(seen(fenced._replace(power_state="Halted", resident_on=""))) == [(failover.START, "v")]
    assert kinds(seen(fenced._replace(holders=frozenset({("b", "192.0.2.1:0/8")})))) == [(failover.RELEASE, "v")]
    assert kinds(seen(fenced._replace(resident_on="a"))) == [(failover.RELEASE, "v")]
    assert kinds(seen(fenced._replace(power_state="Suspended", resident_on=""))) == [(failover.RELEASE, "v")]


def test_a_claim_of_a_host_that_is_serviced_or_has_left_is_inherited() -> None:
    guests = (Guest("v", "Halted", "", True, "b"), Guest("w", "Halted", "", True, "gone"), Guest("x", "Halted", "", True, ""))
    assert kinds(seen(*guests)) == [(failover.TAKE_OVER, "w")]
    resting = seen(*guests, peers=(A, B._replace(rests=True)))
    assert kinds(resting) == [(failover.TAKE_OVER, "v"), (failover.TAKE_OVER, "w")]
    for step in failover.decide(resting):
        resting = failover.after(resting, step)
    assert kinds(resting) == [(failover.START, "v"), (failover.START, "w")]


def test_a_claim_with_which_a_living_host_does_nothing_is_taken_over_if_the_vm_can_be_started() -> None:
    """Its toolstack hangs. What it may have been asked to declare off is not: it could do that late."""
    left = Guest("v", "Halted", "", True, "b", memory_bytes=9, claim_idle_s=ABANDONED_S)
    assert kinds(seen(left)) == [(failover.TAKE_OVER, "v")]
    (step,) = failover.decide(seen(left))
    assert kinds(failover.after(seen(left), step)) == [(failover.START, "v")]
    for other in (
        left._replace(claim_idle_s=ABANDONED_S - 1),
        left._replace(memory_bytes=10),
        left._replace(holders=frozenset({("c", "192.0.2.3:0/7")})),
        left._replace(power_state="Running", resident_on="b"),
    ):
        assert kinds(seen(other)) == []


def test_a_keeper_whose_toolstack_hangs_with_a_claim_leaves_the_vm_to_another_and_does_no_harm_when_it_goes_on() -> None:
    world = World()
    world.start_vm("v1", "a", by_person=True)
    world.crash("a")
    world.pass_time()
    vm = world.vms["v1"]
    while vm.power_state != "Halted" or not vm.claim:
        work(world, "b", rounds=1)
    world.look("b")
    assert [step.kind for step in world.keepers["b"].steps] == [failover.START], "it goes on with that, late"
    work(world, "c")
    assert (vm.claim, vm.power_state) == ("b", "Halted"), "a living host's claim is its own for a while"
    vm.is_abandoned = True
    work(world, "c")
    assert (vm.claim, vm.power_state, len(vm.runs_on)) == ("", "Running", 1)
    world.act("b", 0)
    work(world, "b", "c")
    assert (vm.claim, vm.power_state, len(vm.runs_on)) == ("", "Running", 1)


def test_a_claim_ages_while_its_vm_is_off_and_nothing_is_done_with_it() -> None:
    claims, off = Claims(), Guest("v", "Halted", "", True, "b")

    def age_s(guest: Guest, uptime_s: float) -> float:
        (aged,) = claims.age(seen(guest), uptime_s).guests
        return float(aged.claim_idle_s)

    assert [age_s(off, uptime_s) for uptime_s in (5.0, 9.0)] == [0.0, 4.0]
    assert age_s(off._replace(is_busy=True), 10.0) == 0.0
    assert [age_s(off, uptime_s) for uptime_s in (11.0, 13.0)] == [0.0, 2.0]
    assert age_s(off._replace(claim="c"), 14.0) == 0.0
    assert age_s(off._replace(claim=""), 15.0) == age_s(off, 16.0) == 0.0


def test_a_vm_that_this_host_is_shut_out_from_is_stopped() -> None:
    assert kinds(seen(shut_out=("v",))) == [(failover.STOP_OWN, "v")]


def test_a_vm_whose_disk_this_host_holds_is_no_stray_whatever_the_record_says() -> None:
    guest = Guest("v", "Running", "b", True, "", holders=frozenset({("a", "192.0.2.1:0/7")}))
    sight = Sight("a", True, 0.0, (Peer("a", True, True, True),), (guest,), {}, frozenset(), strays=("v",))
    assert failover.decide(sight) == ()
    (step,) = failover.decide(sight._replace(acknowledged=frozenset({"192.0.2.1:0/7"})))
    assert step.kind == failover.STOP_STRAY


def test_an_sr_that_is_not_plugged_hinders_only_the_vms_that_lie_on_it() -> None:
    lacking = A._replace(lacks=frozenset({"sr2"}))
    on_one, on_two = (Guest(vm, "Halted", "", True, "a", srs=frozenset({sr})) for vm, sr in (("v", "sr1"), ("w", "sr2")))
    assert kinds(seen(on_one, on_two, peers=(lacking,))) == [(failover.START, "v")]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Addresses that do not answer."""
    found: set[str] = set()
    monkeypatch.setattr(failover_presence, "answers", lambda address: address not in found)
    return found


def roster(*names: str, master: str = "a") -> Roster:
    places = {name: Place(name, "address-" + name, (), "vm-" + name) for name in names}
    return Roster("a", master, places, (("rbd", ""),), ())


def test_a_client_at_an_address_that_two_hosts_have_is_nobodys() -> None:
    """Of an interface that was unplugged the pool's record keeps the address, and another host may have it by now."""
    own = {"a": ("192.0.2.1", "192.0.2.9"), "b": ("192.0.2.2", "192.0.2.9")}
    places = {name: Place(name, addresses[0], addresses, "vm-" + name) for name, addresses in own.items()}
    known = roster()._replace(hosts=places)
    assert [known.host_at(f"192.0.2.{number}:0/7") for number in (1, 2, 9, 7)] == ["a", "b", "", ""]


def listen(presence: Presence, uptime_s: float, *well: str) -> float:
    """For how long b is silent."""
    machines = frozenset("vm-" + name for name in well)
    presence.update(roster("a", "b", "c"), (machines, machines, MACHINES), lambda _: False, uptime_s)
    return presence.signs("b").silent_s


def test_the_time_in_which_nobody_listened_is_no_silence(silent: set[str]) -> None:
    """A dom0 that was paused for minutes has heard nobody, and its own network is slow to come back."""
    presence = Presence()
    silent.add("address-b")
    assert listen(presence, 1000.0, "a", "c") == 0.0
    assert listen(presence, 1002.0, "a", "c") == 2.0
    assert listen(presence, 1302.0, "a", "c") == 2.0 + UNHEARD_S < SUSPECT_S


def test_a_host_that_has_long_been_silent_is_not_waited_for_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """But right before it is fenced it is. And an answer counts, whenever it comes in time."""
    presence, slow_s = Presence(), 0.4
    monkeypatch.setattr(failover_presence, "BRIEF_S", 0.02)
    monkeypatch.setattr(failover_presence, "answers", lambda address: address != "address-b" or bool(time.sleep(slow_s)))

    def ask(uptime_s: float, *, brief: bool) -> float:
        began, well = time.monotonic(), MACHINES - {"vm-b"}
        presence.update(roster("a", "b", "c"), (well, well, MACHINES), lambda _: False, uptime_s, brief=brief)
        return time.monotonic() - began

    for uptime_s in (1000.0, 1006.0, 1012.0):
        assert ask(uptime_s, brief=True) >= slow_s
    presence._silent_s["b"] = SUSPECT_S
    assert not presence.is_doubtful("b")
    assert ask(1014.0, brief=True) < slow_s / 2 and presence.signs("b").silent_s == SUSPECT_S + 2
    assert presence.is_doubtful("b")
    assert ask(1016.0, brief=False) >= slow_s and not presence.is_doubtful("b")
    monkeypatch.setattr(failover_presence, "answers", lambda _: True)
    ask(1018.0, brief=True)
    assert presence.missed() == {}


def test_a_host_that_hears_none_of_those_that_live_judges_nobody(silent: set[str]) -> None:
    """The network on which it asks is its own trouble: Ceph has another one."""
    presence = Presence()
    silent |= {"address-b", "address-c"}
    for uptime_s in range(1000, 1060, 2):
        listen(presence, float(uptime_s), "a", "c")
    assert presence.missed() == {}
    silent.remove("address-c")
    assert [listen(presence, 1060.0, "a", "c"), listen(presence, 1062.0, "a", "c")] == [0.0, 2.0]


def test_a_host_that_has_left_the_pool_watches_nothing() -> None:
    assert roster("a", "b").is_watched()
    assert not roster("b", "c").is_watched()


class Pool:
    """What a keeper's succession asks of the toolstack and of Ceph."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.locks: dict[str, str] = {}
        self.master = "a"
        self.succession = Succession(self.call, self, lambda *_: None)

    def call(self, method: str, *params: Any) -> Any:
        self.calls.append(method)
        if method == "pool.get_all_records":
            return {"pool": {"master": self.master}}
        return params[0] if params else None

    def lock_owner(self, _: tuple[str, str], name: str) -> str | None:
        return self.locks.get(name)

    def release_lock(self, _: tuple[str, str], name: str, owner: str) -> None:
        if self.locks.get(name) == owner:
            del self.locks[name]

    def take_lock(self, _: tuple[str, str], name: str, owner: str, _ttl_s: int) -> str:
        return self.locks.setdefault(name, owner)

    def owners(self, _: Any) -> tuple[list[Any], frozenset[Any]]:
        return [], frozenset()

    def fenced(self, _: tuple[str, str]) -> frozenset[str]:
        return frozenset()


def test_a_master_whose_place_was_taken_while_it_was_away_for_a_short_while_steps_back() -> None:
    pool, known = Pool(), roster("a", "b")
    assert not pool.succession.follow_successor(known) and pool.calls == []
    pool.locks[SUCCESSOR + "a"] = "b"
    assert pool.succession.follow_successor(known) and pool.calls[-1] == "host.restart_agent"
    pool.calls, pool.master = [], "b"
    assert not pool.succession.follow_successor(known) and "host.restart_agent" not in pool.calls
    assert pool.locks == {}, "it follows, so that is over"


def test_a_master_whose_place_nobody_has_restarts_its_toolstack_a_few_times_only() -> None:
    """Who had begun to take its place died before, or after. The lock tells of it for an hour."""
    pool, known = Pool(), roster("a", "b")
    pool.locks[SUCCESSOR + "a"] = "b"
    assert [pool.succession.follow_successor(known) for _ in range(9)] == [True] * STEPS_BACK_MAX + [False] * (9 - STEPS_BACK_MAX)
    assert pool.calls.count("host.restart_agent") == STEPS_BACK_MAX
    pool.locks.clear()
    assert not pool.succession.follow_successor(known)
    pool.locks[SUCCESSOR + "a"] = "b"
    assert pool.succession.follow_successor(known), "another time"


@pytest.fixture
def local_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a member's toolstack is asked that has no master."""
    asked: list[str] = []
    monkeypatch.setattr(failover_succession, "ROLE_FILE", "/nonexistent")
    monkeypatch.setattr(failover_succession, "_ask", lambda _session, method, *_: asked.append(method))
    return asked


def test_a_host_that_was_off_meanwhile_does_not_take_the_new_masters_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local_calls: list[str]
) -> None:
    """a was off when c succeeded b, and comes back with no news of that; b is dead still."""
    pool, old, new = Pool(), roster("a", "b", "c", master="b"), roster("a", "b", "c", master="c")
    c = Succession(pool.call, pool, lambda *_: None)
    monkeypatch.setattr(failover_succession, "ROLE_FILE", str(tmp_path / "role"))
    for role, holder in (("slave:address-b", None), ("master", "c")):
        (tmp_path / "role").write_text(role)
        c.hold(old._replace(own="c"), 100.0)
        assert pool.locks.get(LOCK) == holder
    (tmp_path / "role").write_text("slave:" + old.hosts["b"].address)
    pool.succession.take_over(old, frozenset({"vm-a", "vm-c"}), Presence(), 900.0)
    assert local_calls == []
    (tmp_path / "role").write_text("slave:" + new.hosts["c"].address)
    pool.succession.take_over(new, frozenset({"vm-a", "vm-b"}), Presence(), 901.0)
    assert local_calls[-1] == "pool.emergency_transition_to_master", "c has died, and its lock is no hindrance"
    assert pool.locks[LOCK] == "a"


def test_a_master_tells_who_comes_back_if_it_was_not_always_the_master() -> None:
    pool, before, now = Pool(), roster("a", "b", master="b"), roster("a", "b")
    pool.succession.welcome(100.0)
    pool.succession.tell(100.0)
    assert pool.calls == []
    pool.succession.settle(before, now, 200.0)
    pool.succession.tell(200.0)
    pool.succession.welcome(900.0)
    pool.succession.tell(900.0)
    pool.succession.tell(1300.0)
    assert pool.calls == ["Async.pool.recover_slaves"] * 2


def test_those_that_are_serviced_do_not_have_the_last_word(
    monkeypatch: pytest.MonkeyPatch, silent: set[str], local_calls: list[str]
) -> None:
    """b, the master, is dead; a is the only one of the others whose keeper does anything."""
    pool, presence, known = Pool(), Presence(), roster("a", "b", "c", master="b")
    known.hosts["c"] = known.hosts["c"]._replace(rests=True)
    silent.add("address-b")
    for uptime_s in range(1000, 1130, 5):
        listen(presence, float(uptime_s), "a", "c")
    assert presence.signs("b").silent_s == 125.0
    pool.succession.take_over(known, frozenset({"vm-a", "vm-c"}), presence, 1130.0)
    assert local_calls[-1] == "pool.emergency_transition_to_master"


def test_a_keeper_that_was_killed_before_it_told_the_others_tells_them() -> None:
    pool, before, now = Pool(), roster("a", "b", master="b"), roster("a", "b")
    pool.succession.settle(now, now, 100.0)
    pool.succession.settle(None, now, 100.0)
    pool.succession.tell(100.0)
    assert pool.calls == []
    pool.succession.settle(before, now, 200.0)
    for uptime_s in (200.0, 201.0, 231.0, 900.0):  # again, since one may just have restarted; not for ever
        pool.succession.tell(uptime_s)
    assert pool.calls == ["Async.pool.recover_slaves"] * 2


def test_a_toolstack_that_does_not_let_its_keeper_in_costs_one_try_not_three_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, asked = Pool(), []
    presence, dead_master = Presence(), roster("a", "b", "c", master="b")
    pool.locks[SUCCESSOR + "a"] = "c"  # it was the master before, and is not to step back for that any more
    monkeypatch.setattr(failover_succession, "ROLE_FILE", "/nonexistent")

    def ask(_session: str, method: str, *_: Any) -> str:
        asked.append(method)
        if len(asked) == 1:
            raise TimeoutError
        return "session"

    monkeypatch.setattr(failover_succession, "_ask", ask)
    with pytest.raises(TimeoutError):
        pool.succession.take_over(dead_master, frozenset({"vm-a", "vm-c"}), presence, 100.0)
    pool.succession.take_over(dead_master, frozenset({"vm-a", "vm-c"}), presence, 101.0)
    assert asked[1:] == ["session.slave_local_login_with_password", "pool.emergency_transition_to_master"]
    assert pool.locks[SUCCESSOR + "b"] == "a" and SUCCESSOR + "a" not in pool.locks


def test_where_a_vm_does_not_start_it_is_tried_again_a_little_later_each_time() -> None:
    """A toolstack that has just become the master's has no drivers for some seconds: no reason to wait a minute."""
    presence, now_s, pauses_s = Presence(), 100.0, list[float]()
    for _ in range(12):
        presence.shun("v", "a", now_s)
        pauses_s.append(presence.next_try_at(now_s) - now_s)
        presence._listen({}, now_s + 1)
        assert presence.shunned_by("v") == {"a"}
        now_s += pauses_s[-1]
        presence._listen({}, now_s)
        assert presence.shunned_by("v") == frozenset()
        assert presence.next_try_at(now_s) == float("inf")
    assert pauses_s[:4] == [2, 3, 4.5, 6.75] and pauses_s[-2:] == [60, 60]
