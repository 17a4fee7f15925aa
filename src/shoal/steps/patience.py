"""Tries a step again when what stopped it may be over: a monitor election, a connection that was lost.

Allowed since every step may be repeated. What a step has waited for in vain is not waited for again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shoal.clients.xenapi import XenApiError
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import TimedOut
from shoal.plan.action import Action
from shoal.steps.step import Step
from shoal.steps.tools import Tools

TRIES = 4
PAUSE_S = 4.0
BUSY = ("OTHER_OPERATION_IN_PROGRESS", "VDI_IN_USE", "HOST_STILL_BOOTING")


@dataclass(slots=True)
class Patient:
    """A step like the one in it, but for the tries."""

    step: Step
    timeout_s: float

    async def apply(self, action: Action, tools: Tools) -> None:
        for _ in range(TRIES - 1):
            try:
                return await self.step.apply(action, tools)
            except ShoalError as error:
                if not may_pass(error):
                    raise
                tools.progress(action, f"{error.brief}; trying again")
                await asyncio.sleep(PAUSE_S)
        return await self.step.apply(action, tools)

    async def verify(self, action: Action, tools: Tools) -> str:
        for _ in range(TRIES - 1):
            try:
                return await self.step.verify(action, tools)
            except ShoalError as error:
                if not may_pass(error):
                    raise
                await asyncio.sleep(PAUSE_S)
        return await self.step.verify(action, tools)


def may_pass(error: ShoalError) -> bool:
    """Whether it may be over in a moment. BUSY: what a killed run has begun, the toolstack carries to its end."""
    if isinstance(error, XenApiError):
        return error.code in BUSY
    return isinstance(error, TemporaryError) and not isinstance(error, TimedOut)


def patient(step: Step) -> Step:
    return Patient(step, step.timeout_s)
