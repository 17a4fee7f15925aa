"""Tries a step again when what stopped it may be over: a monitor election, a connection that was lost.

Allowed since every step may be repeated. What a step has waited for in vain is not waited for again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from shoal.clients.xenapi import ToolstackUnreachable, XenApiError
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import TimedOut
from shoal.plan.action import Action
from shoal.steps.step import Step
from shoal.steps.tools import Tools

Result = TypeVar("Result")

TRIES = 4
PAUSE_S = 4.0
RESTART_S = 120.0
"""So long a toolstack may be away: apply restarts it itself, and a busy host's takes a while to come back."""
BUSY = ("OTHER_OPERATION_IN_PROGRESS", "VDI_IN_USE", "HOST_STILL_BOOTING")
UNAVAILABLE = ("SR_BACKEND_FAILURE_46", "SR_BACKEND_FAILURE_47")
"""A disk or an SR, says its driver: what it asked may have been too busy, or only just started."""


@dataclass(slots=True)
class Patient:
    """A step like the one in it, but for the tries."""

    step: Step
    timeout_s: float

    async def apply(self, action: Action, tools: Tools) -> None:
        def say(error: ShoalError) -> None:
            tools.progress(action, f"{error.brief}; trying again")

        await _try_again(lambda: self.step.apply(action, tools), say)

    async def verify(self, action: Action, tools: Tools) -> str:
        return await _try_again(lambda: self.step.verify(action, tools), lambda _: None)


async def _try_again(do: Callable[[], Awaitable[Result]], say: Callable[[ShoalError], None]) -> Result:
    tries, end = 1, time.monotonic() + RESTART_S
    while True:
        try:
            return await do()
        except ShoalError as error:
            if not may_pass(error):
                raise
            is_toolstack_away = isinstance(error, ToolstackUnreachable) and time.monotonic() < end
            tries += not is_toolstack_away
            if tries > TRIES:
                raise
            say(error)
        await asyncio.sleep(PAUSE_S)


def may_pass(error: ShoalError) -> bool:
    """Whether it may be over in a moment. BUSY: what a killed run has begun, the toolstack carries to its end."""
    if isinstance(error, XenApiError):
        return error.code in BUSY + UNAVAILABLE
    return isinstance(error, TemporaryError) and not isinstance(error, TimedOut)


def patient(step: Step) -> Step:
    return Patient(step, step.timeout_s)
