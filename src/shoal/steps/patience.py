"""Tries a step again when what stopped it may be over: a monitor election, a connection that was lost.

Allowed since every step may be repeated. What a step has waited for in vain is not waited for again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shoal.kit.errors import TemporaryError
from shoal.kit.waiting import TimedOut
from shoal.plan.action import Action
from shoal.steps.step import Step
from shoal.steps.tools import Tools

TRIES = 4
PAUSE_S = 3.0


@dataclass(slots=True)
class Patient:
    """A step like the one in it, but for the tries."""

    step: Step
    timeout_s: float

    async def apply(self, action: Action, tools: Tools) -> None:
        for _ in range(TRIES - 1):
            try:
                return await self.step.apply(action, tools)
            except TimedOut:
                raise
            except TemporaryError as error:
                tools.progress(action, f"{error.brief}; trying again")
                await asyncio.sleep(PAUSE_S)
        return await self.step.apply(action, tools)

    async def verify(self, action: Action, tools: Tools) -> str:
        for _ in range(TRIES - 1):
            try:
                return await self.step.verify(action, tools)
            except TemporaryError:
                await asyncio.sleep(PAUSE_S)
        return await self.step.verify(action, tools)


def patient(step: Step) -> Step:
    return Patient(step, step.timeout_s)
