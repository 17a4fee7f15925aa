"""From what the witnesses were heard to say to accusations. Pure.

A witness's run is one start of the VM: it says the highest record that it found, then acknowledges one after the other.
Every record is written once. So the records that two runs have acknowledged never overlap, whatever was heard when; and
what a start finds is no less than all that was acknowledged before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of a witness: on which host, and when it was heard (seconds, one clock for all).

    `late`: it was said before its host was listened to, perhaps long ago.
    """

    at_s: float
    host: str
    vm: str
    word: str  # highest (what it found when it started), ack, damaged
    number: int
    late: bool = False


@dataclass(slots=True)
class Run:
    """It found `found` records, and has acknowledged all up to `top` by itself."""

    host: str
    found: int
    top: int
    is_told: bool = False  # that it found too few


def accuse(heard: Sequence[Heard]) -> list[str]:
    """What must never be: a record acknowledged and gone, a damaged one, two starts that wrote to one disk."""
    accusations = []
    for vm in sorted({one.vm for one in heard}):
        story = sorted((one for one in heard if one.vm == vm), key=lambda one: one.at_s)
        runs: list[Run] = []
        crimes = [*_read(story, runs), *_overlaps(runs)]
        accusations += [f"{vm}: {crime}" for crime in dict.fromkeys(crimes)]
    return accusations


def _read(story: Iterable[Heard], runs: list[Run]) -> list[str]:
    """What is wrong line by line; fills in the runs."""
    crimes: list[str] = []
    acked, by_host = 0, defaultdict[str, list[Run]](list)
    for one in story:
        here = by_host[one.host]
        if one.word == "damaged":
            crimes.append(f"{one.host} found record {one.number} damaged")
        elif one.word == "highest":
            # A line that is heard late may be older than what was acknowledged elsewhere since; what this host itself
            # acknowledged before comes before it in its log.
            known = max((run.top for run in here), default=0) if one.late else acked
            lost = one.number < known
            if lost:
                crimes.append(f"{known} were acknowledged, {one.host} found {one.number}")
            here.append(Run(one.host, one.number, one.number, lost))
        elif one.word == "ack":
            acked = max(acked, one.number)
            crimes += _acknowledge(one, here)
    runs += [run for here in by_host.values() for run in here]
    return crimes


def _acknowledge(one: Heard, here: list[Run]) -> list[str]:
    """Add it to the run that it belongs to: the last one, or if it is late, the one it fits."""
    if one.late:
        run = max((run for run in here if run.found < one.number), key=lambda run: run.found, default=None)
    else:
        run = here[-1] if here else None
        if run is not None and one.number <= run.found:
            return [f"{one.host} acknowledged record {one.number}, and had found {run.found}"]
    if run is None:
        # Its start was not heard: no more is known than that it wrote this one.
        run = Run(one.host, one.number - 1, one.number - 1)
        here.append(run)
    run.top = max(run.top, one.number)
    return []


def _overlaps(runs: Sequence[Run]) -> Iterable[str]:
    """Two runs that wrote the same record, or one that began in the midst of another."""
    ordered = sorted((run for run in runs if not run.is_told), key=lambda run: (run.found, run.top))
    highest = ordered[0] if ordered else None
    for _, run in pairwise(ordered):
        assert highest is not None
        if run.found < highest.top:
            yield f"{highest.host} and {run.host} both had the disk at record {run.found + 1}"
        highest = max(highest, run, key=lambda one: one.top)
