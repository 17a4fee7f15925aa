"""From what was heard and seen to seconds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.judge import Heard

# Issue 4's aims; two cores without KVM. Printed beside what was measured, and judged by nobody.
AIMS_S = {
    "crash io_stall_s": 10.0,
    "crash vm_elsewhere_s": 45.0,
    "powercut all_running_s": 180.0,
}


@dataclass(frozen=True, slots=True)
class Place:
    """From then on the pool says that the VM runs on that host; "" for nowhere."""

    at_s: float
    vm: str
    host: str


def longest_silence_s(heard: Iterable[Heard], vm: str, since_s: float, until_s: float) -> float:
    """Between two acknowledgements in a row, one of them at least within the span. Late ones have no time."""
    times = sorted(one.at_s for one in heard if one.vm == vm and one.word == "ack" and not one.late)
    before = [at for at in times if at <= since_s][-1:]
    within = [*before, *(at for at in times if since_s < at <= until_s)]
    return round(max((later - earlier for earlier, later in zip(within, within[1:], strict=False)), default=0.0), 1)


def first_write_s(heard: Iterable[Heard], vm: str, since_s: float, *, not_on: str = "") -> float | None:
    """When the VM's first acknowledgement after that was heard, of any host but that one."""
    acks = (one for one in heard if one.vm == vm and one.word == "ack" and not one.late)
    return min((one.at_s for one in acks if one.at_s > since_s and one.host != not_on), default=None)


def running_s(places: Iterable[Place], vm: str, since_s: float, writes_s: float, *, not_on: str = "") -> float | None:
    """When the pool said that it runs on any host but that one, before it was heard to write there.

    A guest's own boot comes after.
    """
    found = (one for one in places if one.vm == vm and one.host not in ("", not_on))
    return max((one.at_s for one in found if since_s < one.at_s <= writes_s), default=None)


def rows(figures: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Of each fault's figures the median and the worst, and the aim where there is one."""
    found = {}
    for name, values in sorted(figures.items()):
        if values:
            row = {"count": len(values), "median_s": round(statistics.median(values), 1), "worst_s": max(values)}
            found[name] = row | ({"aim_s": AIMS_S[name]} if name in AIMS_S else {})
    return found
