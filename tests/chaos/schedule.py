"""Which fault comes when, from a seed. Pure.

Faults come one at a time: Shoal promises to survive the loss of one host; the next comes only when the pool is whole.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """A fault and the host that it hits. `lasts_s` until it is mended, where a hand (or the power company) mends it."""

    number: int
    fault: str
    host: str
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Kind:
    """A fault as the schedule knows it; `weight` is how often it comes beside the others."""

    name: str
    shortest_s: float = 0.0
    longest_s: float = 0.0
    weight: int = 1


def draw(seed: int, kinds: Sequence[Kind], hosts: Sequence[str]) -> Iterator[Event]:
    """Without end. Each round has every fault as often as it weighs, in a new order."""
    chance = random.Random(seed)
    number = 0
    while True:
        hand = [kind for kind in kinds for _ in range(kind.weight)]
        chance.shuffle(hand)
        for kind in hand:
            number += 1
            yield Event(
                number, kind.name, chance.choice(hosts), round(chance.uniform(kind.shortest_s, kind.longest_s), 1)
            )
