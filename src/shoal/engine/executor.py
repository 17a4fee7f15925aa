"""Runs the actions of a plan as a graph: what does not depend on each other runs at the same time.

Keeps nothing from one run to the next and decides nothing: what is to be done, the plan says. A failure stops what
depends on it and lets everything else finish, so that one bad disk does not undo the work on the other hosts.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

from shoal.engine.outcome import Outcome, State, Watcher
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action, Change
from shoal.steps.step import Step

if TYPE_CHECKING:
    from shoal.steps.tools import Tools

Result = TypeVar("Result")
PER_HOST = 4  # actions that load one host at the same time
VERIFY_TIMEOUT_S = 120.0


class NotVisible(ShoalError):
    """A step ended without an error, and its work cannot be seen."""


class StepTimedOut(ShoalError):
    """A step took longer than it ever should."""


class Executor:
    def __init__(self, steps: Mapping[str, Step], watcher: Watcher, *, per_host: int = PER_HOST) -> None:
        self._steps = steps
        self._watcher = watcher
        self._slots: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_host))
        self._last_report: dict[str, str] = {}
        self._start = 0.0

    def report(self, action: Action, text: str) -> None:
        """What steps call with their progress."""
        self._last_report[action.id] = text
        self._watcher.progressed(action, text)

    async def run(self, actions: Iterable[Action], tools: Tools) -> dict[str, Outcome]:
        """Carry out all actions; the outcome of each, by id. Cancelled: stops the steps that run, then raises."""
        self._start = time.monotonic()
        graph = {action.id: action for action in actions}
        sorter = TopologicalSorter({action.id: action.needs & graph.keys() for action in graph.values()})
        sorter.prepare()
        outcomes: dict[str, Outcome] = {}
        ended: asyncio.Queue[str] = asyncio.Queue()

        async def carry_out(action: Action) -> None:
            outcomes[action.id] = await self._run_step(action, tools)
            ended.put_nowait(action.id)

        async with asyncio.TaskGroup() as group:
            while sorter.is_active():
                for name in sorter.get_ready():
                    settled = _settle(graph[name], outcomes)
                    if settled is None:
                        group.create_task(carry_out(graph[name]), name=name)
                        continue
                    outcomes[name] = settled
                    self._watcher.ended(settled)
                    ended.put_nowait(name)
                sorter.done(await ended.get())
        return outcomes

    async def _run_step(self, action: Action, tools: Tools) -> Outcome:
        # Actions without a host ("cluster", "pool") do not queue behind each other.
        async with self._slots[action.host or action.id]:
            self._watcher.started(action)
            start = time.monotonic()

            def end(state: State, message: str = "", error: Exception | None = None) -> Outcome:
                seconds = time.monotonic() - start
                outcome = Outcome(action, state, seconds, message, error, start - self._start)
                self._watcher.ended(outcome)
                return outcome

            try:
                await self._apply_and_verify(action, tools)
            except asyncio.CancelledError:
                end(State.INTERRUPTED, "interrupted")
                raise
            except Exception as error:  # noqa: BLE001  a bug in one step must not hide what the others did
                text = error.brief if isinstance(error, ShoalError) else f"{type(error).__name__}: {error}"
                return end(State.FAILED, text, error)
            return end(State.DONE)

    async def _apply_and_verify(self, action: Action, tools: Tools) -> None:
        step = self._steps[action.kind]
        await self._limit(step.apply(action, tools), action, step.timeout_s)
        seen = await self._limit(step.verify(action, tools), action, VERIFY_TIMEOUT_S)
        if seen:
            raise NotVisible(
                f"{action.id} ended without an error, but: {seen}",
                resolution="Run the same command again; if it stays so, this is a bug worth reporting.",
            )

    async def _limit(self, work: Awaitable[Result], action: Action, timeout_s: float) -> Result:
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                return await work
        except TimeoutError as error:
            if not limit.expired():
                raise
            last = self._last_report.get(action.id, "nothing")
            raise StepTimedOut(
                f"{action.id} did not end within {timeout_s:g} s",
                details=f"last reported: {last}",
                resolution="If it was only slow, run the same command again: it goes on where it stopped.",
            ) from error


def _settle(action: Action, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    """The outcome of an action that need not or cannot run; None for one that shall."""
    for need in sorted(action.needs & outcomes.keys()):
        if outcomes[need].state in (State.FAILED, State.NOT_REACHED):
            return Outcome(action, State.NOT_REACHED, message=f"waited for {need}")
    if action.change is Change.NONE:
        return Outcome(action, State.NOTHING, message=action.reason)
    return None
