"""The one way to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.waiting import TimedOut, wait_until


def saying(*texts: str | Exception) -> Callable[[], Awaitable[str]]:
    left = list(texts)

    async def condition() -> str:
        said = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(said, Exception):
            raise said
        return said

    return condition


async def test_it_ends_when_met() -> None:
    await wait_until(saying("no", TemporaryError("refused"), ""), deadline_s=2, what="it", every_s=0.01)


async def test_a_time_out_says_what_for_and_what_was_seen() -> None:
    with pytest.raises(TimedOut) as caught:
        await wait_until(saying("starting", "2 of 3 up"), deadline_s=0.1, what="three OSDs", every_s=0.02)
    assert caught.value.brief == "waited 0.1 s for three OSDs"
    assert caught.value.details == "last seen: 2 of 3 up"


async def test_another_error_ends_it_at_once() -> None:
    with pytest.raises(ShoalError, match="refused for good"):
        await wait_until(saying(ShoalError("refused for good")), deadline_s=5, what="it")


async def test_a_condition_that_hangs_is_cut_off() -> None:
    async def hanging() -> str:
        await asyncio.sleep(60)
        return ""

    with pytest.raises(TimedOut, match="waited 0.1 s"):
        await wait_until(hanging, deadline_s=0.1, what="it", every_s=0.01)
