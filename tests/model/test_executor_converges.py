"""The real executor on the modelled pool: steps fail half-way, siblings finish, the next run ends the work."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.engine.executor import Executor
from shoal.engine.outcome import State, Watchers
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.plan.planner import KINDS, make_plan
from tests.model.world import Crash, World, make_facts, make_spec


@dataclass
class WorldStep:
    """Does to the world what the step of that name does, unless it shall fail this time."""

    world: World
    failing: dict[str, int]
    timeout_s: float = 5.0

    async def apply(self, action: Action, tools: Any) -> None:
        await asyncio.sleep(0)
        try:
            self.world.do(action, stage_count=self.failing.pop(action.id, None))
        except Crash as crash:
            raise ShoalError(f"failed in {crash}") from crash

    async def verify(self, action: Action, tools: Any) -> str:
        plans = KINDS[action.kind](self.world.spec, self.world.facts)
        now = next(planned for planned in plans if planned.id == action.id)
        return "" if now.change is Change.NONE else now.reason


def apply(world: World, failing: dict[str, int]) -> dict[str, State]:
    step = WorldStep(world, failing)
    executor = Executor(dict.fromkeys(KINDS, step), Watchers())
    plan = make_plan(world.spec, world.facts)
    outcomes = asyncio.run(executor.run(plan.actions, None))  # type: ignore[arg-type]
    return {name: outcome.state for name, outcome in outcomes.items()}


IDS = [action.id for action in make_plan(make_spec(), make_facts()).actions]


@given(st.dictionaries(st.sampled_from(IDS), st.integers(0, 2), max_size=5))
@settings(max_examples=40, deadline=None)
def test_failures_half_way_and_then_none(failing: dict[str, int]) -> None:
    world = World(make_spec(), make_facts())
    before = world.untouchable()
    needs = {action.id: action.needs for action in make_plan(world.spec, world.facts).actions}
    states = apply(world, dict(failing))
    for name, state in states.items():
        stopped = any(states[need] in (State.FAILED, State.NOT_REACHED) for need in needs[name])
        assert (state is State.NOT_REACHED) == stopped, name
        if state is State.FAILED:
            assert name in failing
    apply(world, {})
    left = make_plan(world.spec, world.facts).changes
    assert [f"{action.id}: {action.reason}" for action in left] == []
    assert world.twins() == []
    assert world.untouchable() == before
