"""One errand from the command line: look, plan, show, ask, carry out, say. What is done, the verb gives."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, exit_code, explain, outcome_to_dict
from shoal.cli.options import Basics
from shoal.cli.plan import action_to_dict
from shoal.cli.render import draw_plan, draw_results, error_console, output_console, summarize
from shoal.engine.outcome import State
from shoal.kit.folders import state_folder
from shoal.plan.action import Action, Plan
from shoal.spec.load import read_spec

Answer = TypeVar("Answer")


def say_what_was_done(result: converge.Result, console: Console) -> None:
    if not result.outcomes:
        console.print(f"{summarize(result.plan)}  ({result.seconds:.1f} s)")
        return
    console.print(draw_results(result.outcomes.values()))
    done = sum(outcome.state is State.DONE for outcome in result.outcomes.values())
    console.print(Text(f"{done} done in {result.seconds:.1f} s", "bold green"))


class Errand:
    """`describe`: an action as JSON. `close`: what is said when all went well."""

    def __init__(
        self,
        options: Basics,
        *,
        ask: bool,
        describe: Callable[[Action], dict[str, object]] = action_to_dict,
        close: Callable[[converge.Result, Console], None] = say_what_was_done,
    ) -> None:
        self.document = read_spec(options.file)
        self.state = state_folder(self.document.spec.pool.url, options.state)
        self._options, self._ask, self._describe, self._close = options, ask, describe, close
        self._console = error_console() if options.json else output_console()

    def wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return door.run(work, self.document)

    def run(
        self, plan: Callable[[], Plan], work: Callable[[Conversation], Coroutine[Any, Any, converge.Result]]
    ) -> int:
        """`plan` is all that a dry run does. The exit code."""
        if self._options.dry_run:
            return self._say(converge.Result(plan()))
        talk = Conversation(self._console, ask=self._ask)
        try:
            result = self.wait(work(talk))
        finally:
            talk.end()
        return self._say(result, refused=talk.was_refused)

    def _say(self, result: converge.Result, *, refused: bool = False) -> int:
        if self._options.json:
            print(json_format.dumps(self._to_dict(result), indent=2))
        if result.plan.problems:
            return door.refuse(result.plan.problems)
        if refused:
            self._console.print("Nothing was touched.")
            return door.FAILED
        if self._options.dry_run:
            self._console.print(draw_plan(result.plan, everything=True))
            return door.OK
        if result.failures:
            return self._explain(result)
        self._close(result, self._console)
        return door.OK

    def _explain(self, result: converge.Result) -> int:
        self._console.print(draw_results(result.outcomes.values()))
        for outcome in result.failures:
            explain(outcome)
        self._console.print(Text("Run the same command again: it goes on where it stopped.", "bold red"))
        return exit_code(result)

    def _to_dict(self, result: converge.Result) -> dict[str, object]:
        return {
            "actions": [self._describe(action) for action in result.plan.actions],
            "problems": [{"what": problem.what, "remedy": problem.remedy} for problem in result.plan.problems],
            "outcomes": [outcome_to_dict(outcome) for outcome in result.outcomes.values()],
            "seconds": round(result.seconds, 2),
        }
