"""Steps and a watcher for the tests of the executor."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from shoal.engine.outcome import Outcome
from shoal.plan.action import Action, Change


def act(kind: str, target: str = "x", *needs: str, change: Change = Change.CREATE, host: str = "") -> Action:
    return Action(kind, target, change, "because", host, frozenset(needs))


@dataclass
class Good:
    """Takes its time, then is done."""

    seconds: float = 0.0
    timeout_s: float = 5.0
    seen: str = ""
    running: int = 0
    most: int = 0
    applied: list[str] = field(default_factory=list)

    async def apply(self, action: Action, tools: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.running -= 1
        self.applied.append(action.id)

    async def verify(self, action: Action, tools: Any) -> str:
        return self.seen


@dataclass
class Bad(Good):
    error: Exception = field(default_factory=lambda: ValueError("no idea"))

    async def apply(self, action: Action, tools: Any) -> None:
        await asyncio.sleep(self.seconds)
        raise self.error


@dataclass
class Log:
    """A Watcher that remembers."""

    lines: list[str] = field(default_factory=list)

    def started(self, action: Action) -> None:
        self.lines.append(f"start {action.id}")

    def progressed(self, action: Action, text: str) -> None:
        self.lines.append(f"{action.id}: {text}")

    def ended(self, outcome: Outcome) -> None:
        self.lines.append(f"end {outcome.action.id}: {outcome.state}")
