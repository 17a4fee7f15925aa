"""Whatever happens on the way, apply converges: a plan is made from facts alone, and every step can be resumed.

The world is a pure model (world.py); the plan is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.plan.action import Action, Change, Plan
from shoal.plan.planner import KINDS, make_plan
from tests.model.world import Crash, World, make_facts, make_spec

BREAKAGES = ("vm", "ceph", "pbd", "kit", "link", "map", "default")
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 2))


def new_world(host_count: int, disk_count: int) -> World:
    return World(make_spec(host_count, disk_count), make_facts(host_count, disk_count))


def plan_of(world: World) -> Plan:
    plan = make_plan(world.spec, world.facts)
    assert plan.problems == ()
    return plan


def run(world: World, draw: Callable[[st.SearchStrategy[str]], str] | None = None) -> None:
    """Carry out a plan in any order that its needs allow; a Crash gets out."""
    plan = plan_of(world)
    left: dict[str, Action] = {action.id: action for action in plan.actions}
    while left:
        ready = sorted(name for name, action in left.items() if not action.needs & left.keys())
        assert ready, f"a circle among {sorted(left)}"
        name = draw(st.sampled_from(ready)) if draw else ready[0]
        action = left.pop(name)
        if action.change is not Change.NONE:
            world.do(action)


@given(SIZES)
@settings(max_examples=12, deadline=None)
def test_the_second_plan_is_empty(size: tuple[int, int]) -> None:
    world = new_world(*size)
    before = world.untouchable()
    run(world)
    assert [f"{action.id}: {action.reason}" for action in plan_of(world).changes] == []
    assert world.untouchable() == before
    assert world.twins() == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_it_converges_after_crashes_at_any_stage(data: st.DataObject) -> None:
    world = new_world(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2)))
    before = world.untouchable()
    for stages in data.draw(st.lists(st.integers(0, 60), max_size=5)):
        world.crash_after = world.stages_done + stages
        try:
            run(world, data.draw)
        except Crash:
            assert world.twins() == []
            assert world.untouchable() == before
    world.crash_after = -1
    run(world, data.draw)
    assert [f"{action.id}: {action.reason}" for action in plan_of(world).changes] == []
    assert world.twins() == []
    assert world.untouchable() == before
    assert world.facts.ceph and world.facts.ceph.fsid == "fsid"


@pytest.mark.parametrize("kind", KINDS)
def test_done_means_nothing_left_for_that_kind(kind: str) -> None:
    """The law of every kind: what has been done is not planned again."""
    world = new_world(3, 2)
    for action in plan_of(world).actions:
        world.do(action)
    again = KINDS[kind](world.spec, world.facts)
    assert again and {action.change for action in again} == {Change.NONE}
    assert all(action.reason for action in again)


@pytest.mark.parametrize("kind", KINDS)
def test_half_done_is_planned_again(kind: str) -> None:
    """… and what has been begun only is. (Where a step has one stage there is no half.)"""
    world = new_world(3, 2)
    for action in plan_of(world).actions:
        if action.kind == kind:
            try:
                world.do(action, stage_count=1)
            except Crash:
                left = {planned.id: planned for planned in plan_of(world).actions}
                assert left[action.id].change is not Change.NONE, left[action.id].reason
                return
        else:
            world.do(action)


def test_needs_name_actions_that_exist_and_make_no_circle() -> None:
    world = new_world(5, 2)
    plan = plan_of(world)
    done: set[str] = set()
    for action in plan.actions:  # the order of a plan is an order in which it could be carried out
        assert action.needs <= done, f"{action.id} needs {sorted(action.needs - done)}"
        done.add(action.id)
    assert len(done) == len(plan.actions)


@given(st.lists(st.sampled_from(BREAKAGES), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_what_breaks_afterwards_is_mended(breakages: list[str], data: st.DataObject) -> None:
    world = new_world(3, 1)
    run(world)
    for breakage in breakages:
        _break(world, breakage, data.draw(st.sampled_from(["xen1", "xen2", "xen3"])))
    assert plan_of(world).changes
    for _ in range(2):  # a cluster that could not be seen is looked at again
        run(world)
    assert [f"{action.id}: {action.reason}" for action in plan_of(world).changes] == []
    assert world.twins() == []


def _break(world: World, what: str, host: str) -> None:
    now = world.facts
    if what == "vm":
        vms = tuple(replace(v, power_state="Halted", guest=None) if v.host == host else v for v in now.storage_vms)
        world.facts = replace(now, storage_vms=vms)
    elif what == "ceph":
        assert now.ceph
        world.facts = replace(now, ceph=replace(now.ceph, hosts=now.ceph.hosts[:-1]))
    elif what == "pbd":
        srs = tuple(
            replace(sr, pbds=tuple(replace(p, attached=p.attached and p.host != host) for p in sr.pbds))
            if sr.type != "ext"
            else sr
            for sr in now.srs
        )
        world.facts = replace(now, srs=srs)
    elif what in ("kit", "link"):
        hosts = []
        for seen in now.hosts:
            assert seen.dom0
            gone = replace(seen.dom0, kit=replace(seen.dom0.kit, digest="")) if what == "kit" else None
            hosts.append(replace(seen, dom0=gone or replace(seen.dom0, passthrough_links={})))
        world.facts = replace(now, hosts=tuple(hosts))
    elif what == "map":
        booted = tuple(
            replace(h, dom0=replace(h.dom0, maps=replace(h.dom0.maps, mapped={}))) if h.dom0 and h.name == host else h
            for h in now.hosts
        )
        world.facts = replace(now, hosts=booted)
    else:
        world.facts = replace(now, pool=replace(now.pool, default_sr="another"))
