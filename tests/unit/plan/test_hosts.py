"""Hosts that leave service, come back and reboot: in which order, what is refused, and how a killed run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shoal.facts import CephPool, Maintenance, OrdinaryVm
from shoal.plan import host_enter, host_exit, host_reboot
from shoal.plan.action import Change, Plan
from shoal.spec.model import ExistingCeph
from shoal.spec.names import storage_vm_name
from tests.unit.plan.host_world import (
    MASTER,
    NAMES,
    SPEC,
    at_rest,
    change_ceph,
    change_host,
    do,
    set_storage_vm,
)

HOST = NAMES[1]
WEB = OrdinaryVm("11111111-web", "web", "Running", HOST)
STUCK = OrdinaryVm("22222222-db", "db", "Running", HOST, cannot_move="VM_LACKS_FEATURE")
Round = Callable[[Maintenance], Plan | None]


def enter(seen: Maintenance, host: str = HOST, *, stop_vms: bool = False) -> Plan:
    return host_enter.plan(SPEC, seen, host, stop_vms=stop_vms, wait_s=600)


def leave(seen: Maintenance, host: str = HOST, *, bring_back: bool = False) -> Plan:
    return host_exit.plan(SPEC, seen, host, bring_back=bring_back, wait_s=600)


def carry_out(seen: Maintenance, plan: Plan, *, killed_after: int = 1000) -> Maintenance:
    assert not plan.problems
    for action in plan.actions[:killed_after]:
        seen = do(seen, action)
    return seen


def told(plan: Plan) -> list[str]:
    return [problem.what for problem in plan.problems]


def test_the_order_of_leaving_and_of_coming_back() -> None:
    seen = at_rest(WEB)
    plan = enter(seen)
    kinds = list(dict.fromkeys(action.kind for action in plan.actions))
    assert kinds == [
        *("ceph_spare", "host_mark", "host_enabled", "vm_away", "host_left"),
        *("sr_on_host", "osd_noout", "storage_vm_off"),
    ]
    done: set[str] = set()
    for action in plan.actions:  # each stage waits for the whole of the one before
        assert action.needs <= done
        done.add(action.id)
    away = carry_out(seen, plan)
    (web,) = away.vms
    assert (web.host, web.home) == (MASTER, HOST)

    back = leave(away)
    kinds = list(dict.fromkeys(action.kind for action in back.actions))
    assert kinds == [
        *("host_enabled", "storage_vm_ready", "ceph_back", "sr_on_host", "osd_noout", "host_mark", "vm_back"),
    ]
    assert back.actions[-1].reason == f"it runs on {MASTER}, and stays so; --bring-back would bring it back"
    assert carry_out(away, leave(away, bring_back=True)) == seen


@pytest.mark.parametrize("killed_after", range(10))
def test_a_killed_run_is_taken_up_and_a_second_one_has_nothing_to_do(killed_after: int) -> None:
    seen = at_rest(WEB)
    halfway = carry_out(seen, enter(seen), killed_after=killed_after)
    away = carry_out(halfway, enter(halfway))
    assert away == carry_out(seen, enter(seen))
    assert not enter(away).changes and not enter(away).problems

    halfway = carry_out(away, leave(away, bring_back=True), killed_after=killed_after)
    back = carry_out(halfway, leave(halfway, bring_back=True))
    assert back == seen
    assert not leave(back).changes
    # And the way back is open from wherever the way out was left.
    halfway = carry_out(seen, enter(seen), killed_after=killed_after)
    assert carry_out(halfway, leave(halfway, bring_back=True)) == seen


def test_until_its_vms_have_left_a_host_is_marked_as_one_that_may_die() -> None:
    """A run is killed before it can move them: the keepers still look after them. Not on somebody else's Ceph."""
    seen = at_rest(WEB)
    halfway = carry_out(seen, enter(seen), killed_after=3)
    host = halfway.host(HOST)
    assert host is not None and host.maintenance and host.leaving and host_enter.residents(halfway, HOST)
    by_hand = change_host(seen, HOST, maintenance="a fan")
    marks = [action for action in enter(by_hand).actions if action.kind in ("host_mark", "host_left")]
    assert [action.change for action in marks] == [Change.NONE, Change.NONE]
    somebody_elses = SPEC.ceph.model_copy(update={"existing": ExistingCeph.model_construct()})  # type: ignore[call-arg]
    theirs = SPEC.model_copy(update={"ceph": somebody_elses})
    plan = host_enter.plan(theirs, replace(seen, ceph=None), HOST, stop_vms=False, wait_s=600)
    (mark,) = [action for action in plan.actions if action.kind in ("host_mark", "host_left")]
    assert mark.settings == {"marked": True, "leaving": False}


def test_a_noout_that_is_its_keepers_is_made_shoals_own() -> None:
    """The keeper sets it for a reboot, and takes it back as soon as the OSDs are up: also while this plan runs."""
    seen = change_ceph(at_rest(), noout_hosts=(storage_vm_name(HOST),))
    for began in (seen, change_host(seen, HOST, maintenance="now")):
        (noout,) = [action for action in enter(began).actions if action.kind == "osd_noout"]
        assert noout.change is Change.UPDATE
        assert noout.settings == {"noout": True, "records": ("rbd/xen",)}
    config = {"pool": "old", "user": "shoal-xen"}
    pbds = tuple(replace(pbd, device_config=config) for pbd in seen.srs[0].pbds)
    left = replace(seen, srs=(*seen.srs, replace(seen.srs[0], name="out of the spec", pbds=pbds)))
    (noout,) = [action for action in enter(left).actions if action.kind == "osd_noout"]
    assert noout.settings["records"] == ("old/", "rbd/xen")


def test_a_second_host_is_refused_while_one_is_away() -> None:
    away = carry_out(at_rest(), enter(at_rest()))
    assert told(enter(away, NAMES[2])) == [f"{HOST} is in maintenance already (since now)"]
    dead = change_host(at_rest(), HOST, live=False)
    assert told(enter(dead, NAMES[2])) == [f"{HOST} is away already: it is not live"]
    off = set_storage_vm(at_rest(), HOST, "Halted")
    assert told(enter(off, NAMES[2])) == [f"{HOST} is away already: its storage VM does not run"]


def test_what_no_waiting_helps_is_refused() -> None:
    seen = at_rest()
    assert seen.ceph is not None
    two = change_ceph(seen, mons=seen.ceph.mons[:2])
    assert told(enter(two)) == [f"without {HOST} 1 of 2 monitors are left, and 2 are needed for a quorum"]
    strict = change_ceph(seen, pools=(CephPool("rbd", 3, 3),))
    assert told(enter(strict)) == [f"without {HOST} Ceph pool rbd has 2 copies, and min_size is 3"]
    assert "ceph osd pool set rbd min_size 2" in enter(strict).problems[0].remedy
    single = change_ceph(seen, pools=(CephPool("rbd", 3, 2),), osds=seen.ceph.osds[:2])
    (problem,) = enter(single).problems
    assert problem.what == f"without {HOST} Ceph pool rbd has 1 copies, and min_size is 2"
    assert "add a host" in problem.remedy and "min_size" not in problem.remedy
    broken = change_ceph(seen, health="HEALTH_ERR", health_checks=("1 full osd",))
    assert told(enter(broken)) == ["Ceph says HEALTH_ERR: 1 full osd"]
    assert told(enter(replace(seen, ha_enabled=True))) == ["the pool's HA is on, and would move or fence by itself"]
    assert told(enter(change_host(seen, HOST, live=False))) == [f"{HOST} is not live"]
    assert told(enter(seen, "xen99")) == ["the spec has no host xen99"]
    assert told(leave(seen, "xen99")) == ["the spec has no host xen99"]


def test_what_passes_is_waited_for_and_said() -> None:
    busy = change_ceph(at_rest(), clean_pgs=30)
    (spare, *_) = enter(busy).actions
    assert spare.kind == "ceph_spare" and "3 of 33 placement groups are not active and clean" in spare.reason


def test_vms_that_cannot_move_are_named_and_stopped_only_when_told_to() -> None:
    seen = at_rest(WEB, STUCK)
    assert told(enter(seen)) == [f"the VM db cannot move away from {HOST}: VM_LACKS_FEATURE"]
    plan = enter(seen, stop_vms=True)
    assert {action.target: action.settings["stop"] for action in plan.actions if action.kind == "vm_away"} == {
        "web (11111111)": False,
        "db (22222222)": True,
    }
    away = carry_out(seen, plan)
    reasons = [action.reason for action in leave(away, bring_back=True).actions if action.kind == "vm_back"]
    assert reasons == [f"it runs on {MASTER}, and moves back to {HOST}", f"it is off, and is started on {HOST}"]
    paused = at_rest(replace(WEB, power_state="Paused"))
    assert told(enter(paused, stop_vms=True)) == [f"the VM web on {HOST} is paused: it can neither move nor shut down"]


# Reboots

HOW = host_reboot.Options(bring_back=True)


def reboot(seen: Maintenance, named: tuple[str, ...] = (), *, kill_after: int = 1000) -> tuple[Maintenance, list[str]]:
    """A run that is killed after so many steps. Which hosts rebooted."""
    names = host_reboot.choose(SPEC, seen, named)
    plan: Plan | None = host_reboot.plan(SPEC, seen, names, HOW)
    rebooted: list[str] = []
    for _ in range(20):
        if plan is None:
            return seen, rebooted
        assert not plan.problems, told(plan)
        for action in plan.actions:
            if not kill_after:
                return seen, rebooted
            kill_after -= 1
            before, seen = seen.boots, do(seen, action)
            rebooted += [action.host] if seen.boots != before else []
        plan = host_reboot.next_plan(SPEC, seen, names, HOW)
    raise AssertionError("it does not come to an end")


def test_all_hosts_reboot_one_at_a_time_the_master_last() -> None:
    seen, rebooted = reboot(at_rest(WEB))
    assert rebooted == [*NAMES[1:], MASTER]
    assert seen == replace(at_rest(WEB), boots={name: f"boot-2-{name}" for name in NAMES})


def test_some_hosts_reboot() -> None:
    assert reboot(at_rest(), (MASTER, NAMES[2], MASTER))[1] == [NAMES[2], MASTER]


@pytest.mark.parametrize("kill_after", range(0, 60, 3))
def test_a_rolling_reboot_that_was_killed_goes_on_and_reboots_no_host_twice(kill_after: int) -> None:
    halfway, first = reboot(at_rest(WEB), kill_after=kill_after)
    seen, then = reboot(halfway)
    is_whole = not any(host.reboot_due for host in halfway.hosts)  # then the second one is a new one
    if kill_after >= len(NAMES) and not is_whole:  # before that, not all hosts were due yet
        assert first + then == [*NAMES[1:], MASTER]
        assert seen.boots == {name: f"boot-2-{name}" for name in NAMES}
    assert not any(host.reboot_due or host.maintenance or not host.enabled for host in seen.hosts)


def test_a_host_that_is_down_in_the_middle_is_waited_for() -> None:
    seen = at_rest()
    names = host_reboot.choose(SPEC, seen, (HOST,))
    seen = carry_out(seen, host_reboot.plan(SPEC, seen, names, HOW))
    plan = host_reboot.next_plan(SPEC, seen, names, HOW)
    assert plan is not None
    seen = carry_out(seen, replace(plan, actions=plan.actions[:-1]))
    down = change_host(replace(seen, boots={}), HOST, live=False)
    assert not host_reboot.plan(SPEC, down, names, HOW).problems
    plan = host_reboot.next_plan(SPEC, down, names, HOW)
    assert plan is not None
    assert [action.kind for action in plan.actions] == ["host_restart"]


def test_a_host_that_is_not_live_for_a_moment_is_not_rebooted_under_its_storage_vm() -> None:
    seen = at_rest()
    names = host_reboot.choose(SPEC, seen, (HOST,))
    seen = carry_out(seen, host_reboot.plan(SPEC, seen, names, HOW))
    plan = host_reboot.next_plan(SPEC, change_host(seen, HOST, live=False), names, HOW)
    assert plan is not None
    assert told(plan) == [f"{HOST} is not live, and its storage VM runs"]


def test_a_reboot_is_refused_as_a_whole_before_anything_is_touched() -> None:
    stuck = at_rest(STUCK)
    plan = host_reboot.plan(SPEC, stuck, host_reboot.choose(SPEC, stuck, ()), HOW)
    assert told(plan) == [f"the VM db cannot move away from {HOST}: VM_LACKS_FEATURE"]
    mute = replace(at_rest(), boots={})
    assert told(host_reboot.plan(SPEC, mute, (HOST,), HOW)) == [
        f"dom0 of {HOST} does not answer, so its boots cannot be told apart"
    ]


def test_a_host_that_has_rebooted_by_itself_is_brought_back() -> None:
    seen = change_host(at_rest(), HOST, reboot_due="an earlier boot")
    names = host_reboot.choose(SPEC, seen, ())
    assert names == (HOST,)
    plan = host_reboot.next_plan(SPEC, seen, names, HOW)
    assert plan is not None
    assert [action.kind for action in plan.actions if action.change is not Change.NONE] == ["host_mark"]
    assert storage_vm_name(HOST) not in (seen.ceph.noout_hosts if seen.ceph else ())
