"""What every step is: the protocol, and the tools that steps work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shoal.plan.action import Action
    from shoal.steps.tools import Tools


class Step(Protocol):
    """A module in this folder whose name is the `kind` of the actions that it carries out."""

    timeout_s: float
    """After so long the executor cancels the step and says what it last reported."""

    async def apply(self, action: Action, tools: Tools) -> None:
        """Make it so. Safe to repeat after being killed anywhere. Reports progress by `tools.progress(action, "…")`."""

    async def verify(self, action: Action, tools: Tools) -> str:
        """Read the fact again; return "" when it is as wanted, else what is seen instead."""
