"""Plan and status answer for whatever is seen, and never invent a problem-free way to destroy."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.facts import Facts
from shoal.plan.action import Change
from shoal.plan.findings import find_faults
from shoal.plan.planner import make_plan
from tests.model.world import World, make_facts, make_spec

SPEC = make_spec(3, 2)


@cache
def finished() -> Facts:
    world = World(SPEC, make_facts(3, 2))
    for action in make_plan(SPEC, world.facts).actions:
        world.do(action)
    return world.facts


def spoil(value: Any, draw: st.DataObject, depth: int = 0) -> Any:
    """The same value with one part of it gone or empty."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        name = draw.draw(st.sampled_from(names))
        return replace(value, **{name: spoil(getattr(value, name), draw, depth + 1)})
    if isinstance(value, tuple) and value:
        index = draw.draw(st.integers(0, len(value) - 1))
        if draw.draw(st.booleans()):
            return value[:index] + value[index + 1 :]
        return (*value[:index], spoil(value[index], draw, depth + 1), *value[index + 1 :])
    if isinstance(value, bool):
        return not value
    return type(value)() if isinstance(value, str | int | float | dict) else value


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_never_an_exception_and_never_a_wipe(data: st.DataObject) -> None:
    facts = data.draw(st.sampled_from([finished(), make_facts(3, 2)]))
    for _ in range(data.draw(st.integers(1, 6))):
        facts = spoil(facts, data)
    for gone in data.draw(st.lists(st.sampled_from(["dom0", "ceph", "guest"]), max_size=2)):
        facts = _without(facts, gone)
    plan = make_plan(SPEC, facts)
    assert all(action.reason for action in plan.actions)
    assert all(action.change is not Change.DESTROY for action in plan.actions)
    assert all(problem.remedy for problem in plan.problems)
    find_faults(SPEC, facts)


def _without(facts: Facts, part: str) -> Facts:
    if part == "ceph":
        return replace(facts, ceph=None)
    if part == "dom0":
        return replace(facts, hosts=tuple(replace(host, dom0=None) for host in facts.hosts))
    return replace(facts, storage_vms=tuple(replace(vm, guest=None) for vm in facts.storage_vms))
