"""How far a machine's clock is from ours, as far as one round trip can tell."""

from __future__ import annotations


def skew_s(sent: float, received: float, clock: list[float]) -> float:
    """The smallest difference (theirs minus ours) that agrees with what was seen.

    They looked at their clock twice, between our sending and receiving: a slow answer is no proof of a wrong clock.
    """
    began, ended = clock[0], clock[-1]
    latest, earliest = began - sent, ended - received
    if earliest <= 0 <= latest:
        return 0.0
    return latest if latest < 0 else earliest
