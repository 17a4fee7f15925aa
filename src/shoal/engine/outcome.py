"""What became of an action, and who wants to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from shoal.plan.action import Action


class State(StrEnum):
    DONE = "done"
    NOTHING = "nothing to do"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`error` is what ended a failed action; one that is no ShoalError is a bug of ours.

    `started_s` counts from the start of the run.
    """

    action: Action
    state: State
    seconds: float = 0.0
    message: str = ""
    error: Exception | None = None
    started_s: float = 0.0


class Watcher(Protocol):
    """Is told what happens, as it happens. Must not block and must not raise."""

    def started(self, action: Action) -> None: ...

    def progressed(self, action: Action, text: str) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...


class Watchers:
    """Several watchers as one."""

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def started(self, action: Action) -> None:
        for watcher in self._watchers:
            watcher.started(action)

    def progressed(self, action: Action, text: str) -> None:
        for watcher in self._watchers:
            watcher.progressed(action, text)

    def ended(self, outcome: Outcome) -> None:
        for watcher in self._watchers:
            watcher.ended(outcome)
