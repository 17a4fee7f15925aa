"""The one way to wait for something. A time-out says what it waited for and what it last saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from shoal.kit.errors import TemporaryError


class TimedOut(TemporaryError):
    """The deadline passed and the condition was still not met."""


async def wait_until(
    condition: Callable[[], Awaitable[str]], *, deadline_s: float, what: str, every_s: float = 1.0
) -> None:
    """Ask `condition` until it answers "" (met), else with what it saw instead; raise TimedOut after `deadline_s`.

    A TemporaryError of the condition is something that was seen; any other error ends the wait at once.
    A condition that hangs is cut off at the deadline, too.
    """
    end = time.monotonic() + deadline_s
    seen = "nothing yet"
    while True:
        try:
            async with asyncio.timeout(max(end - time.monotonic(), 0.001)):
                seen = await condition()
        except TemporaryError as error:
            seen = error.brief
        except TimeoutError:
            seen = f"{seen}; the last look did not return"
        if not seen:
            return
        if time.monotonic() + every_s >= end:
            raise TimedOut(
                f"waited {deadline_s:g} s for {what}",
                details=f"last seen: {seen}",
                resolution="If it was only slow, run the same command again: it goes on where it stopped.",
            )
        await asyncio.sleep(every_s)
