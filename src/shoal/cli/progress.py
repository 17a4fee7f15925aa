"""Live progress of an apply: what runs, on which host, for how long. Plain lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from shoal.cli.render import name_action, result_line
from shoal.engine.outcome import Outcome, State
from shoal.plan.action import Action

PLAIN_EVERY_S = 10.0  # without a terminal an action's remarks are printed no more often than this


class Progress:
    """A Watcher that draws. `with Progress(console) as progress: …`"""

    def __init__(self, console: Console, total: int = 0) -> None:
        self._console = console
        self._total, self._ended = total, 0
        self._start = time.monotonic()
        self._running: dict[str, tuple[Action, float]] = {}
        self._remarks: dict[str, str] = {}
        self._printed: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def expect(self, total: int) -> None:
        """How many actions there will be."""
        self._total, self._start = total, time.monotonic()

    def started(self, action: Action) -> None:
        self._running[action.id] = (action, time.monotonic())
        if not self._live:
            self._print(Text(f"… {name_action(action)}  {action.reason}"))

    def progressed(self, action: Action, text: str) -> None:
        self._remarks[action.id] = text
        now = time.monotonic()
        if not self._live and now - self._printed.get(action.id, -PLAIN_EVERY_S) >= PLAIN_EVERY_S:
            self._printed[action.id] = now
            self._print(Text(f"  {name_action(action)}: {text}"))

    def ended(self, outcome: Outcome) -> None:
        self._running.pop(outcome.action.id, None)
        if outcome.state is not State.NOTHING:
            self._ended += 1
            self._print(result_line(outcome))

    def _print(self, text: Text) -> None:
        seconds = f"{time.monotonic() - self._start:6.1f} s  "
        self._console.print(Text.assemble((seconds, "dim"), text), soft_wrap=True)

    def _draw(self) -> Table:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for action, since in tuple(self._running.values()):  # drawn by a thread of its own
            remark = self._remarks.get(action.id, action.reason)
            table.add_row(
                Spinner("dots", style="cyan"),
                name_action(action),
                Text(f"{now - since:.0f} s", "cyan"),
                Text(remark, "dim", no_wrap=True, overflow="ellipsis"),
            )
        table.add_row(
            "", Text(f"{self._ended} of {self._total}", "bold"), Text(f"{now - self._start:.0f} s", "bold"), ""
        )
        return table
