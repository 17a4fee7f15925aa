"""The executor: order, parallelism, failures, time-outs, cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.engine.executor import Executor
from shoal.engine.outcome import Outcome, State
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from tests.unit.engine.steps import Bad, Good, Log, act


async def run(steps: dict[str, Any], *actions: Action, per_host: int = 2) -> tuple[dict[str, Outcome], Log]:
    log = Log()
    return await Executor(steps, log, per_host=per_host).run(actions, None), log  # type: ignore[arg-type]


async def test_needs_come_first() -> None:
    step = Good()
    actions = (act("s", "c", "s/b"), act("s", "b", "s/a"), act("s", "a"))
    outcomes, _ = await run({"s": step}, *actions)
    assert step.applied == ["s/a", "s/b", "s/c"]
    assert {outcome.state for outcome in outcomes.values()} == {State.DONE}


async def test_what_is_independent_runs_at_once_but_not_too_much_on_one_host() -> None:
    step = Good(seconds=0.05)
    await run({"s": step}, *(act("s", f"t{n}", host=f"xen{n % 2}") for n in range(12)))
    assert step.most == 4  # two hosts, two each


async def test_actions_without_a_host_do_not_wait_for_each_other() -> None:
    step = Good(seconds=0.05)
    await run({"s": step}, *(act("s", f"t{n}") for n in range(6)))
    assert step.most == 6


async def test_nothing_to_do_is_not_done() -> None:
    step = Good()
    outcomes, log = await run({"s": step}, act("s", "a", change=Change.NONE), act("s", "b", "s/a"))
    assert step.applied == ["s/b"]
    assert outcomes["s/a"].state is State.NOTHING
    assert log.lines == ["end s/a: nothing to do", "start s/b", "end s/b: done"]


async def test_a_failure_stops_what_needs_it_and_nothing_else() -> None:
    slow = Good(seconds=0.1)
    outcomes, _ = await run(
        {"bad": Bad(error=ShoalError("disk is on fire")), "s": slow},
        act("bad"),
        act("s", "after", "bad/x"),
        act("s", "later", "s/after", change=Change.NONE),
        act("s", "sibling"),
        act("s", "of sibling", "s/sibling"),
    )
    states = {name: outcome.state for name, outcome in outcomes.items()}
    assert states == {
        "bad/x": State.FAILED,
        "s/after": State.NOT_REACHED,
        "s/later": State.NOT_REACHED,
        "s/sibling": State.DONE,
        "s/of sibling": State.DONE,
    }
    assert outcomes["bad/x"].message == "disk is on fire"
    assert outcomes["s/after"].message == "waited for bad/x"


async def test_a_bug_in_a_step_is_kept_as_the_bug_that_it_is() -> None:
    outcomes, _ = await run({"bad": Bad(), "s": Good()}, act("bad"), act("s"))
    assert outcomes["s/x"].state is State.DONE
    assert isinstance(outcomes["bad/x"].error, ValueError)


async def test_a_step_whose_work_cannot_be_seen_has_failed() -> None:
    outcomes, _ = await run({"s": Good(seen="no partition there")}, act("s"))
    assert outcomes["s/x"].state is State.FAILED
    assert "no partition there" in outcomes["s/x"].message


async def test_a_step_that_hangs_is_cut_off_and_says_what_it_did_last() -> None:
    class Hanging(Good):
        async def apply(self, action: Action, tools: Any) -> None:
            executor.report(action, "imported 3 of 9 MiB")
            await asyncio.Event().wait()

    executor = Executor({"s": Hanging(timeout_s=0.05)}, Log())
    outcomes = await executor.run([act("s")], None)  # type: ignore[arg-type]
    error = outcomes["s/x"].error
    assert isinstance(error, ShoalError)
    assert "within 0.05 s" in error.brief
    assert "imported 3 of 9 MiB" in error.details


async def test_a_time_out_inside_a_step_is_not_taken_for_its_limit() -> None:
    outcomes, _ = await run({"bad": Bad(error=TimeoutError("a socket"))}, act("bad"))
    assert isinstance(outcomes["bad/x"].error, TimeoutError)


async def test_cancelled_it_stops_its_steps_and_says_so() -> None:
    step, log = Good(seconds=30), Log()
    task = asyncio.create_task(Executor({"s": step}, log).run([act("s"), act("s", "y", "s/x")], None))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert step.running == 0
    assert log.lines == ["start s/x", "end s/x: interrupted"]


async def test_needs_outside_the_plan_are_no_needs() -> None:
    outcomes, _ = await run({"s": Good()}, act("s", "a", "other/thing"))
    assert outcomes["s/a"].state is State.DONE


async def test_an_outcome_says_when_and_for_how_long() -> None:
    outcomes, _ = await run({"s": Good(seconds=0.05)}, act("s", "a"), act("s", "b", "s/a"))
    assert outcomes["s/a"].started_s < 0.04
    assert outcomes["s/b"].started_s >= 0.05
    assert 0.05 <= outcomes["s/b"].seconds < 1
