"""From what the witnesses were heard to say to figures and accusations. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of a witness: on which host, and when it was heard (seconds, one clock for all)."""

    at_s: float
    host: str
    vm: str
    word: str  # highest (what it found when it started), ack, damaged
    number: int


@dataclass(frozen=True, slots=True)
class Stall:
    """The longest silence of a VM that ran on in a span of time."""

    vm: str
    seconds: float


def accuse(heard: Sequence[Heard]) -> list[str]:
    """What must never be: a record acknowledged and gone, a damaged one, two hosts that write one disk.

    An acknowledgement may be heard late, after its host is back; then the VM's next start has found its record.
    """
    accusations = []
    for vm in sorted({one.vm for one in heard}):
        acked, found, writer = 0, 0, ""
        for one in sorted((one for one in heard if one.vm == vm), key=lambda one: one.at_s):
            if one.word == "damaged":
                accusations.append(f"{vm} on {one.host}: record {one.number} is damaged")
            elif one.word == "highest":
                if one.number < acked:
                    accusations.append(f"{vm} on {one.host}: {acked} were acknowledged, {one.number} are there")
                found, writer = one.number, one.host
            elif one.host != writer and one.number > found:
                accusations.append(f"{vm}: {one.host} wrote record {one.number}, and {writer or 'nobody'} has the disk")
            acked = max(acked, one.number) if one.word == "ack" else acked
    return accusations


def longest_silence(heard: Iterable[Heard], vm: str, since_s: float, until_s: float) -> Stall:
    """Between two acknowledgements in a row, one of them at least within the span."""
    times = sorted(one.at_s for one in heard if one.vm == vm and one.word == "ack")
    before = [at for at in times if at <= since_s][-1:]
    within = [*before, *(at for at in times if since_s < at <= until_s)]
    gaps = [later - earlier for earlier, later in zip(within, within[1:], strict=False)]
    return Stall(vm, round(max(gaps, default=0.0), 1))


def running_elsewhere_s(heard: Iterable[Heard], vm: str, host: str, since_s: float) -> float | None:
    """From the fault to the VM's first acknowledgement on another host; None if there is none."""
    times = [
        one.at_s for one in heard if one.vm == vm and one.host != host and one.word == "ack" and one.at_s > since_s
    ]
    return round(min(times) - since_s, 1) if times else None


def summarise(figures: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each fault's figures the median and the worst."""
    return {
        name: {"count": len(values), "median_s": round(statistics.median(values), 1), "worst_s": max(values)}
        for name, values in sorted(figures.items())
        if values
    }
