"""What may pass is tried again, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from shoal.clients.xenapi import ToolstackUnreachable, XenApiError
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import TimedOut
from shoal.plan.action import Action, Change
from shoal.steps import patience
from shoal.steps.tools import Tools

if TYPE_CHECKING:
    from shoal.clients.connections import Connections

ACTION = Action("kind", "target", Change.CREATE, "missing")


class Failing:
    timeout_s = 1.0

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def apply(self, action: Action, tools: Tools) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)

    async def verify(self, action: Action, tools: Tools) -> str:
        await self.apply(action, tools)
        return "seen"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    return []


def tools(told: list[str]) -> Tools:
    return Tools(cast("Connections", None), lambda _action, text: told.append(text))


async def test_a_lost_connection_is_tried_again_and_told(told: list[str]) -> None:
    step = Failing(TemporaryError("no quorum"), TemporaryError("no quorum"))
    await patience.patient(step).apply(ACTION, tools(told))
    assert (step.calls, told) == (3, ["no quorum; trying again"] * 2)


@pytest.mark.parametrize("code", ["OTHER_OPERATION_IN_PROGRESS", "SR_BACKEND_FAILURE_46", "SR_BACKEND_FAILURE_47"])
async def test_what_is_busy_or_not_up_yet_is_waited_for(told: list[str], code: str) -> None:
    step = Failing(XenApiError("PBD.plug", code, ()))
    await patience.patient(step).apply(ACTION, tools(told))
    assert step.calls == 2


async def test_it_ends_with_the_error_itself(told: list[str]) -> None:
    step = Failing(*[TemporaryError(f"try {n}") for n in range(9)])
    with pytest.raises(TemporaryError, match=f"try {patience.TRIES - 1}"):
        await patience.patient(step).apply(ACTION, tools(told))


async def test_a_toolstack_that_restarts_is_waited_for_longer_and_not_for_ever(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Failing(*[ToolstackUnreachable("connection refused")] * (3 * patience.TRIES))
    await patience.patient(step).apply(ACTION, tools(told))
    assert step.calls == 3 * patience.TRIES + 1
    monkeypatch.setattr(patience, "RESTART_S", 0.0)
    step = Failing(*[ToolstackUnreachable("connection refused")] * (3 * patience.TRIES))
    with pytest.raises(ToolstackUnreachable):
        await patience.patient(step).apply(ACTION, tools(told))
    assert step.calls == patience.TRIES


@pytest.mark.parametrize(
    "error", [TimedOut("waited long"), ShoalError("refused"), XenApiError("SR.create", "SR_BACKEND_FAILURE_1", ())]
)
async def test_what_was_waited_for_or_refused_is_not_tried_again(told: list[str], error: ShoalError) -> None:
    step = Failing(error)
    with pytest.raises(ShoalError):
        await patience.patient(step).apply(ACTION, tools(told))
    assert step.calls == 1


async def test_looking_is_tried_again_too(told: list[str]) -> None:
    assert await patience.patient(Failing(TemporaryError("away"))).verify(ACTION, tools(told)) == "seen"
