"""`shoal apply`: make it so."""

from __future__ import annotations

import asyncio
import json as json_format
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.plan import plan_to_dict, refuse
from shoal.cli.progress import Progress
from shoal.cli.render import draw_plan, draw_results, error_console, output_console, summarize
from shoal.engine.outcome import Outcome, State
from shoal.kit.errors import ShoalError
from shoal.kit.folders import state_folder
from shoal.plan.action import Plan
from shoal.spec.load import Document, read_spec


def run(file: Path, state: Path | None, *, yes: bool, json: bool) -> int:
    document = read_spec(file)
    if not yes and not sys.stdin.isatty():
        raise ShoalError(
            "apply asks before it changes anything, and nobody can answer here",
            resolution="Say --yes, or look at shoal plan first.",
        )
    folder = state_folder(document.spec.pool.url, state)
    return converse(
        lambda talk: converge.apply(document, folder, confirm=talk.confirm, watcher=talk.progress),
        document,
        ask=not yes,
        json=json,
    )


def converse(
    work: Callable[[Conversation], Coroutine[Any, Any, converge.Result]], document: Document, *, ask: bool, json: bool
) -> int:
    """Ask, show the progress, and say what came of it. The exit code."""
    console = error_console() if json else output_console()
    talk = Conversation(console, ask=ask)
    try:
        result = door.run(work(talk), document)
    finally:
        talk.end()
    if json:
        print(json_format.dumps(result_to_dict(result, document), indent=2))
    return conclude(result, document, console, refused=talk.was_refused)


class Conversation:
    """Shows the plan, asks, and then shows the progress."""

    def __init__(self, console: Console, *, ask: bool) -> None:
        self._console, self._ask = console, ask
        self.progress = Progress(console)
        self._is_live = False
        self.was_refused = False

    async def confirm(
        self, plan: Plan, *, question: str = "Carry this out? Only 'yes' is taken for yes: ", answer: str = "yes"
    ) -> bool:
        self._console.print(draw_plan(plan))
        if self._ask:
            self._console.print(question, end="")
            self.was_refused = (await _read_line()).strip() != answer
            if self.was_refused:
                return False
        self.progress.expect(len(plan.changes))
        self.progress.__enter__()
        self._is_live = True
        return True

    def announce(self, plan: Plan) -> None:
        """A plan that follows the one that was agreed to."""
        self._console.print(draw_plan(plan))
        self.progress.expect(len(plan.changes))

    def end(self) -> None:
        if self._is_live:
            self.progress.__exit__(None, None, None)
            self._is_live = False


async def _read_line() -> str:
    """A line from the terminal, without a thread that would outlive ^C."""
    loop = asyncio.get_running_loop()
    is_there = asyncio.Event()
    loop.add_reader(sys.stdin, is_there.set)
    try:
        await is_there.wait()
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline()


def conclude(result: converge.Result, document: Document, console: Console, *, refused: bool) -> int:
    if result.plan.problems:
        refuse(result.plan, document)
        return door.FAILED
    if refused:
        console.print("Nothing was touched.")
        return door.FAILED
    if not result.outcomes:
        console.print(f"{summarize(result.plan)}  ({result.seconds:.1f} s)")
        return door.OK
    console.print(draw_results(result.outcomes[action.id] for action in result.plan.actions))
    for outcome in result.failures:
        explain(outcome)
    failed, unreached = len(result.failures), _count(result, State.NOT_REACHED)
    if failed:
        text = f"{failed} failed, {unreached} not reached. Run the same command again: it goes on where it stopped."
        console.print(Text(text, "bold red"))
        return exit_code(result)
    console.print(Text(f"{_count(result, State.DONE)} done in {result.seconds:.1f} s", "bold green"))
    return door.OK


def explain(outcome: Outcome) -> None:
    if isinstance(outcome.error, ShoalError):
        door.show_error(outcome.error)
    elif outcome.error is not None:
        door.show_bug(outcome.error)


def exit_code(result: converge.Result) -> int:
    is_bug = any(not isinstance(outcome.error, ShoalError) for outcome in result.failures)
    return door.BUG if is_bug else door.FAILED


def _count(result: converge.Result, state: State) -> int:
    return sum(outcome.state is state for outcome in result.outcomes.values())


def result_to_dict(result: converge.Result, document: Document) -> dict[str, object]:
    return {
        **plan_to_dict(result.plan, document),
        "seconds": round(result.seconds, 2),
        "observe_seconds": round(result.observe_seconds, 2),
        "stages": _stages(result),
        "outcomes": [outcome_to_dict(outcome) for outcome in result.outcomes.values()],
    }


def outcome_to_dict(outcome: Outcome) -> dict[str, object]:
    return {
        "id": outcome.action.id,
        "kind": outcome.action.kind,
        "state": str(outcome.state),
        "started_s": round(outcome.started_s, 2),
        "seconds": round(outcome.seconds, 2),
        "message": outcome.message,
    }


def _stages(result: converge.Result) -> dict[str, float]:
    """Seconds of each kind from its first start to its last end; stages overlap."""
    spans: dict[str, tuple[float, float]] = {}
    for outcome in result.outcomes.values():
        if outcome.state in (State.DONE, State.FAILED):
            first, last = spans.get(outcome.action.kind, (outcome.started_s, 0.0))
            end = outcome.started_s + outcome.seconds
            spans[outcome.action.kind] = (min(first, outcome.started_s), max(last, end))
    return {kind: round(last - first, 2) for kind, (first, last) in spans.items()}
