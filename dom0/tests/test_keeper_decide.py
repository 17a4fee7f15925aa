"""What the keeper decides on what it sees. Pure: a table of situations, and laws that hold in all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dom0.shoal_keeper import memory as kept
from dom0.shoal_keeper.decide import ACTIONS_MAX, SPREAD_PATIENCE_S, decide, is_owed
from dom0.shoal_keeper.memory import FIRST_PAUSE_S, OWED_S, PATIENCE, Memory, after_failure, after_look, after_success
from dom0.shoal_keeper.state import NULL, Action, Ceph, Host, LocalPbd, LvmPbd, Pbd, Pool, Seen, Vm

HERE, THERE = "OpaqueRef:here", "OpaqueRef:there"
BOOTED_AT = 1_000_000.0
MONITORS = ("10.77.0.21:6789", "10.77.0.22:6789")
POOL = Pool("pool", is_marked=True, keeps_ceph=True, ha_enabled=False, is_master=True, apply_at_work=False)
HOST = Host(HERE, "host", "xen1", enabled=True, told_to_rest=False)
CEPH = Ceph("", "fsid", MONITORS, "HEALTH_OK")
AWAY = Ceph("10.77.0.21:7443: connection refused")
PLUGGED = Pbd("OpaqueRef:pbd", "pbd", "OpaqueRef:sr", "shoal", attached=True, monitors=MONITORS, fsid="fsid")
UNPLUGGED = PLUGGED._replace(attached=False)
LVM = LvmPbd("OpaqueRef:lvm", "shoal-lvm", attached=True)
OWING = Memory("boot", owes_starts=True)


def vm(name: str, **changes: Any) -> Vm:
    halted = Vm("OpaqueRef:" + name, name, name, "Halted", NULL, HERE, is_busy=False, srs=("OpaqueRef:sr",))
    return halted._replace(**changes)


def running(name: str, **changes: Any) -> Vm:
    return vm(name, power_state="Running", resident_on=HERE, started_at=BOOTED_AT + 5, **changes)


STORAGE_VM = running("storage", srs=())
SEEN = Seen(100.0, BOOTED_AT, POOL, HOST, STORAGE_VM, CEPH, (PLUGGED,))


def kinds(seen: Seen, memory: Memory = OWING) -> list[tuple[str, str]]:
    return [(action.kind, action.name) for action in decide(seen, memory).actions]


def off(**changes: Any) -> Seen:
    return SEEN._replace(storage_vm=STORAGE_VM._replace(power_state="Halted", resident_on=NULL, **changes))


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (SEEN._replace(pool=POOL._replace(is_marked=False)), "Shoal has not set up this pool"),
        (SEEN._replace(pool=POOL._replace(ha_enabled=True)), "high availability is on"),
        (SEEN._replace(host=HOST._replace(told_to_rest=True)), "shoal:maintenance"),
        (SEEN._replace(pool=POOL._replace(apply_at_work=True)), "shoal apply is at work"),
    ],
)
def test_it_stands_back(seen: Seen, why: str) -> None:
    all_off = seen._replace(storage_vm=vm("storage"), pbds=(UNPLUGGED,), vms=(vm("a"),))
    decision = decide(all_off, OWING)
    assert decision.actions == ()
    assert decision.why.startswith("stands back: ") and why in decision.why


def test_only_the_masters_keeper_tells_of_high_availability() -> None:
    seen = SEEN._replace(pool=POOL._replace(ha_enabled=True))
    (trouble,) = decide(seen, OWING).troubles
    assert (trouble.name, trouble.of_pool) == ("SHOAL_HA_ENABLED", True)
    assert decide(seen._replace(pool=seen.pool._replace(is_master=False)), OWING).troubles == ()


def test_while_apply_works_nothing_is_judged() -> None:
    assert decide(SEEN._replace(pool=POOL._replace(apply_at_work=True)), OWING).troubles is None


def test_all_is_well() -> None:
    decision = decide(SEEN, OWING)
    assert decision.why == "nothing to do: the storage VM runs, plugged: shoal, Ceph says HEALTH_OK"
    assert decision.is_settled and decision.troubles == ()


def test_the_storage_vm_is_started_here() -> None:
    (action,) = decide(off(), OWING).actions
    assert (action.kind, action.place) == ("start_storage_vm", HERE)


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        (off(is_busy=True), "is being started or stopped"),
        (off(is_complete=False), "is not complete"),
        (off()._replace(host=HOST._replace(enabled=False)), "the host is disabled"),
        (SEEN._replace(storage_vm=STORAGE_VM._replace(resident_on=THERE)), "runs on another host"),
        (SEEN._replace(storage_vm=STORAGE_VM._replace(power_state="Suspended")), "is Suspended"),
        (off()._replace(under_way=("start_storage_vm/storage",)), "is still under way"),
    ],
)
def test_the_storage_vm_is_left_alone(seen: Seen, note: str) -> None:
    decision = decide(seen, OWING)
    assert decision.actions == ()
    assert note in decision.why and not decision.is_settled


def test_what_its_disks_lie_on_is_plugged_before_it_starts() -> None:
    seen = off()._replace(unplugged=(LocalPbd("OpaqueRef:l", "l", "Local storage"),))
    assert kinds(seen) == [("plug", "Local storage")]
    assert [trouble.name for trouble in decide(seen, OWING).troubles] == ["SHOAL_STORAGE_VM_OFF"]


def test_a_host_without_a_storage_vm_plugs_all_the_same() -> None:
    assert kinds(SEEN._replace(storage_vm=None, pbds=(UNPLUGGED,))) == [("plug", "shoal")]


def test_an_sr_is_plugged_while_the_own_storage_vm_is_off() -> None:
    assert kinds(off()._replace(pbds=(UNPLUGGED,))) == [("start_storage_vm", "storage"), ("plug", "shoal")]


def test_it_waits_for_ceph_and_says_what_it_was_told() -> None:
    decision = decide(SEEN._replace(ceph=AWAY, pbds=(UNPLUGGED,)), OWING)
    assert decision.actions == ()
    assert "waits for Ceph (10.77.0.21:7443: connection refused)" in decision.why
    (trouble,) = decision.troubles
    assert trouble.name == "SHOAL_CEPH_AWAY" and trouble.patience_s > 0


def test_it_waits_for_the_pool() -> None:
    seen = SEEN._replace(pbds=(UNPLUGGED._replace(pool_silence="no answer in time"),))
    assert kinds(seen) == []
    assert "waits for the pool of SR shoal (no answer in time)" in decide(seen, OWING).why


def test_monitors_are_refreshed_before_the_plug_and_on_a_plugged_sr() -> None:
    old = ("10.77.0.21:6789",)
    for pbd in (PLUGGED, UNPLUGGED):
        (action,) = decide(SEEN._replace(pbds=(pbd._replace(monitors=old),)), OWING).actions
        assert (action.kind, action.monitors) == ("refresh", MONITORS)


def test_the_order_of_monitors_does_not_matter() -> None:
    assert kinds(SEEN._replace(pbds=(PLUGGED._replace(monitors=MONITORS[::-1]),))) == []


def test_monitors_of_a_cluster_that_is_not_shoals_are_left_alone() -> None:
    seen = SEEN._replace(pool=POOL._replace(keeps_ceph=False), pbds=(PLUGGED._replace(monitors=MONITORS[:1]),))
    assert kinds(seen) == []


def test_monitors_of_another_cluster_are_not_taken() -> None:
    seen = SEEN._replace(pbds=(PLUGGED._replace(fsid="another", monitors=()),))
    assert kinds(seen) == []
    assert [trouble.name for trouble in decide(seen, OWING).troubles] == ["SHOAL_OTHER_CLUSTER"]


def test_a_failure_is_tried_again_after_a_while_and_holds_up_nothing_else() -> None:
    seen = off()._replace(pbds=(UNPLUGGED,))
    start, _ = decide(seen, OWING).actions
    memory = after_failure(OWING, start, 100.0, "HOST_NOT_ENOUGH_FREE_MEMORY")
    assert kinds(seen, memory) == [("plug", "shoal")]
    later = 101.0 + FIRST_PAUSE_S
    assert kinds(seen._replace(uptime_s=later), memory) == [("start_storage_vm", "storage"), ("plug", "shoal")]
    memory = after_failure(memory, start, later, "again")
    assert kinds(seen._replace(uptime_s=later + FIRST_PAUSE_S), memory) == [("plug", "shoal")]


def test_marked_vms_are_started_once_their_sr_is_plugged() -> None:
    seen = SEEN._replace(vms=(vm("a"),))
    assert kinds(seen) == [("start_vm", "a")]
    assert kinds(seen._replace(pbds=(UNPLUGGED,))) == [("plug", "shoal")]
    assert "the VM a waits for SR shoal" in decide(
        seen._replace(pbds=(UNPLUGGED._replace(pool_silence="x"),)), OWING
    ).why  # fmt: skip


def test_a_vm_on_an_lvm_sr_waits_until_that_is_plugged_and_nobody_plugs_it_here() -> None:
    both = vm("both", srs=("OpaqueRef:sr", "OpaqueRef:lvm"), order=1)
    seen = SEEN._replace(vms=(both, vm("next", order=2)), lvm_pbds=(LVM._replace(attached=False),))
    assert kinds(seen) == []
    assert "the VM both waits for SR shoal-lvm" in decide(seen, OWING).why
    seen = seen._replace(lvm_pbds=(LVM,))
    (action,) = decide(seen, OWING).actions
    assert (action.kind, action.name, action.place) == ("start_vm", "both", HERE)
    assert kinds(seen, after_success(OWING, action, 100.0)) == [("start_vm", "next")]
    anywhere = seen._replace(vms=(both._replace(affinity=NULL),), lvm_pbds=(LVM._replace(lacking=("xen3",)),))
    assert kinds(anywhere) == [] and kinds(anywhere._replace(uptime_s=SPREAD_PATIENCE_S)) == [("start_vm", "both")]


def test_no_vm_is_started_on_a_disabled_host() -> None:
    seen = SEEN._replace(vms=(vm("a"),), host=HOST._replace(enabled=False))
    assert kinds(seen) == []
    assert "starts no VMs" in decide(seen, OWING).why


def test_who_starts_what() -> None:
    vms = (vm("here"), vm("there", affinity=THERE), vm("anywhere", affinity=NULL))
    seen = SEEN._replace(vms=vms)
    assert kinds(seen) == [("start_vm", "anywhere"), ("start_vm", "here")]
    assert [action.place for action in decide(seen, OWING).actions] == ["", HERE]
    assert kinds(seen._replace(pool=POOL._replace(is_master=False))) == [("start_vm", "here")]


def test_vms_that_may_run_anywhere_wait_for_more_hosts_for_a_while() -> None:
    pbd = PLUGGED._replace(lacking=("xen3",))
    seen = SEEN._replace(vms=(vm("a", affinity=NULL), vm("b")), pbds=(pbd,))
    assert kinds(seen) == [("start_vm", "b")]
    assert kinds(seen._replace(uptime_s=SPREAD_PATIENCE_S)) == [("start_vm", "a"), ("start_vm", "b")]


def test_order_and_start_delay() -> None:
    first, second = vm("first", order=1, start_delay_s=30), vm("second", order=2)
    seen = SEEN._replace(vms=(second, first))
    (action,) = decide(seen, OWING).actions
    assert action.name == "first"
    memory = after_success(OWING, action, 100.0)
    seen = seen._replace(vms=(second, running("first", order=1, start_delay_s=30)), uptime_s=129.0)
    assert kinds(seen, memory) == []
    assert "start delay" in decide(seen, memory).why
    assert kinds(seen._replace(uptime_s=130.0), memory) == [("start_vm", "second")]


def test_a_vm_that_does_not_start_holds_up_the_next_for_a_while_only() -> None:
    seen = SEEN._replace(vms=(vm("first", order=1), vm("second", order=2)))
    memory, uptime_s = OWING, 100.0
    for _ in range(PATIENCE - 1):
        (action,) = decide(seen._replace(uptime_s=uptime_s), memory).actions
        assert action.name == "first"
        memory = after_failure(memory, action, uptime_s, "VM_REQUIRES_SR")
        assert kinds(seen._replace(uptime_s=uptime_s), memory) == []
        uptime_s += 300
    (action,) = decide(seen._replace(uptime_s=uptime_s), memory).actions
    memory = after_failure(memory, action, uptime_s, "VM_REQUIRES_SR")
    decision = decide(seen._replace(uptime_s=uptime_s), memory)
    assert [one.name for one in decision.actions] == ["second"]
    assert [trouble.name for trouble in decision.troubles] == ["SHOAL_VM_NOT_STARTED"]


def test_a_few_at_a_time() -> None:
    seen = SEEN._replace(vms=tuple(vm(f"vm{n:02}") for n in range(20)))
    assert len(kinds(seen)) == ACTIONS_MAX
    assert "waits for its turn" not in decide(seen, OWING).why
    begun = seen._replace(under_way=tuple(f"start_vm/vm{n:02}" for n in range(ACTIONS_MAX - 1)))
    assert kinds(begun) == [("start_vm", f"vm{ACTIONS_MAX - 1:02}")], "one more for each that has started"


def test_what_was_shut_down_by_hand_stays_off() -> None:
    memory = after_look(OWING, SEEN._replace(vms=(running("a"),)))
    assert kinds(SEEN._replace(vms=(vm("a"),)), memory) == []


def test_a_vm_that_the_pool_still_thinks_to_run_is_owed_its_start() -> None:
    """After a power cut the records say so until the host of the VM is back."""
    stale = running("a")._replace(started_at=BOOTED_AT - 1000)
    memory = after_look(OWING, SEEN._replace(vms=(stale,)))
    assert kinds(SEEN._replace(vms=(stale,)), memory) == []
    assert kinds(SEEN._replace(vms=(vm("a"),)), memory) == [("start_vm", "a")]


def test_nothing_is_owed_long_after_the_boot_nor_without_one() -> None:
    seen = SEEN._replace(vms=(vm("a"),))
    memory = after_look(OWING, seen)
    assert after_look(memory, seen._replace(uptime_s=100.0 + OWED_S - 1)).owes_starts
    late = seen._replace(uptime_s=100.0 + OWED_S)
    assert kinds(late, after_look(memory, late)) == []
    assert kinds(seen, Memory("boot")) == []


def test_starts_stay_owed_until_the_sr_was_plugged() -> None:
    seen = SEEN._replace(vms=(vm("a"),), pbds=(UNPLUGGED,), ceph=AWAY, uptime_s=100_000.0)
    assert after_look(OWING, seen).owes_starts
    only_lvm = SEEN._replace(pbds=(), lvm_pbds=(LVM._replace(attached=False),))
    assert after_look(OWING, only_lvm).plugged_at is None
    assert after_look(OWING, only_lvm._replace(lvm_pbds=(LVM,))).plugged_at == 100.0


refs = st.sampled_from([HERE, THERE, NULL])
vms = st.builds(
    Vm, st.just("OpaqueRef:v"), st.sampled_from("abcdef"), st.sampled_from("abcdef"),
    st.sampled_from(["Halted", "Running", "Paused", "Suspended"]), refs, refs, st.booleans(), st.integers(0, 3),
    st.integers(0, 100), st.floats(0, 2 * BOOTED_AT), st.sampled_from([(), ("OpaqueRef:sr",), ("OpaqueRef:sr2",)]),
    st.booleans(),
)  # fmt: skip
pbds = st.builds(
    Pbd, st.sampled_from(["p1", "p2"]), st.sampled_from(["p1", "p2"]), st.sampled_from(["OpaqueRef:sr", "OpaqueRef:sr2"]),
    st.just("shoal"), st.booleans(), st.sampled_from([(), MONITORS, MONITORS[:1]]), st.sampled_from(["", "fsid", "x"]),
    st.sampled_from(["", "no answer"]), st.sampled_from([(), ("xen3",)]),
)  # fmt: skip
sights = st.builds(
    Seen, st.floats(0, 10_000), st.just(BOOTED_AT),
    st.builds(Pool, st.just("pool"), st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans()),
    st.builds(Host, st.just(HERE), st.just("host"), st.just("xen1"), st.booleans(), st.booleans()),
    st.none() | vms, st.sampled_from([CEPH, AWAY, CEPH._replace(monitors=())]), st.lists(pbds, max_size=2).map(tuple),
    st.sampled_from([(), (LocalPbd("l1", "l1", "Local storage"),)]),
    st.lists(vms, max_size=5).map(tuple), st.sampled_from([(), ("plug/p1",), ("start_vm/a",)]),
)  # fmt: skip


@st.composite
def memories(draw: st.DrawFn, seen: Seen) -> Memory:
    """One that has lived through a few rounds of the same sight."""
    memory = Memory("boot", owes_starts=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 8))):
        memory = after_look(memory, seen)
        for action in decide(seen, memory).actions:
            uptime_s = draw(st.floats(0, seen.uptime_s))
            if draw(st.booleans()):
                memory = after_failure(memory, action, uptime_s, "why")
            else:
                memory = after_success(memory, action, uptime_s)
    return memory


@given(st.data(), sights)
@settings(deadline=None)
def test_laws(data: st.DataObject, seen: Seen) -> None:
    memory = data.draw(memories(seen))
    decision = decide(seen, memory)
    assert decision.why
    stands_back = seen.pool.ha_enabled or seen.pool.apply_at_work or not seen.pool.is_marked or seen.host.told_to_rest
    if stands_back:
        assert decision.actions == ()
    by_ref = {pbd.ref: pbd for pbd in seen.pbds}
    for action in decision.actions:
        assert action.reason and action.key not in seen.under_way
        assert memory.pause_s(action.key, seen.uptime_s) == 0
        check(action, seen, memory, by_ref)
    starts = [action for action in decision.actions if action.kind == "start_vm"]
    assert len(starts) <= ACTIONS_MAX


def check(action: Action, seen: Seen, memory: Memory, by_ref: dict[str, Pbd]) -> None:
    if action.kind == "start_storage_vm":
        assert seen.storage_vm and seen.storage_vm.power_state == "Halted" and seen.storage_vm.is_complete
        assert seen.host.enabled and action.place == HERE and not seen.unplugged
    elif action.kind == "start_vm":
        (found, *_) = [one for one in seen.vms if one.uuid == action.vm and is_owed(one, seen, memory)]
        assert found and seen.host.enabled
        assert action.place == HERE or seen.pool.is_master
    elif action.ref in {pbd.ref for pbd in seen.unplugged}:
        assert seen.storage_vm and seen.storage_vm.power_state == "Halted"
    else:
        assert not seen.ceph.silence
        if action.kind == "plug":
            assert any(not pbd.attached and not pbd.pool_silence for pbd in seen.pbds if pbd.ref == action.ref)
        else:
            assert action.monitors == seen.ceph.monitors and by_ref[action.ref]


def test_while_the_pool_boots_what_fails_is_tried_again_soon() -> None:
    action = Action("plug", "plug/x", "ref", "name", "reason")
    pauses = []
    for uptime_s in (30.0, 5000.0):
        memory = Memory("boot")
        for _ in range(8):
            memory = after_failure(memory, action, uptime_s, "no")
        pauses.append(memory.pause_s("plug/x", uptime_s))
    assert pauses == [24.0, 300.0]


def test_what_ran_here_starts_here_and_waits_for_no_other_host() -> None:
    lost = vm("lost", affinity=NULL, is_lost_here=True)
    (action,) = decide(SEEN._replace(vms=(lost,), pbds=(PLUGGED._replace(lacking=("b",)),)), OWING).actions
    assert (action.kind, action.place) == ("start_vm", HERE)


def test_what_runs_here_is_known_after_the_next_boot_and_the_one_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FILE", str(tmp_path / "keeper.json"))
    seen = SEEN._replace(residents=(("v", 7.0), ("w", 8.0)))
    kept.save(after_look(Memory("one"), seen))
    assert kept.load("one").lost == {}
    second = kept.load("two")
    assert (second.owes_starts, second.lost) == (True, {"v": 7.0, "w": 8.0})
    kept.save(second._replace(settled={"v": 30.0}))
    assert kept.load("three").lost == {"w": 8.0}, "v was started, and was off before this boot"
    going_down = seen._replace(host=seen.host._replace(enabled=False), residents=())
    assert after_look(after_look(Memory("one"), seen), going_down).residents == dict(seen.residents)


def test_a_vm_that_was_moved_away_before_the_host_went_down_is_not_lost() -> None:
    """Shut down by hand within the hour after the boot, it would be started once more."""
    memory = Memory("two", owes_starts=True, lost={"moved": 7.0, "lost": 8.0})
    moved = vm("moved", affinity=NULL, is_lost_here=True, power_state="Running", resident_on=THERE, started_at=7.0)
    # Of what has gone down with the host the pool says for a while that it runs there.
    lost = vm("lost", affinity=NULL, is_lost_here=True, power_state="Running", resident_on=HERE, started_at=8.0)
    assert after_look(memory, SEEN._replace(vms=(moved, lost))).lost == {"lost": 8.0}


def test_what_ran_before_the_boot_is_not_settled_where_the_clock_was_reset() -> None:
    """The pool says for a while that it runs still, and since when; by a clock that starts in 2000 that is after the boot."""
    memory = Memory("two", owes_starts=True, lost={"v": BOOTED_AT + 5})
    assert after_look(memory, SEEN._replace(vms=(running("v"), running("w")))).settled == {"w": SEEN.uptime_s}
    assert "v" in after_look(memory, SEEN._replace(vms=(running("v")._replace(started_at=BOOTED_AT + 6),))).settled
