"""Random histories of volumes, snapshots, clones, reverts, resets and deletes against a model in memory.

Every content is right all along, and when all is deleted nothing is left. A failure says the seed; SHOAL_SEED repeats
it.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest

from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok, where

pytestmark = pytest.mark.ceph
BLOCKS = (0, 1, 64, 130)  # three data objects of the smallest volumes
STEPS = 45
SEEDS = [int(os.environ["SHOAL_SEED"])] if "SHOAL_SEED" in os.environ else random.SystemRandom().sample(range(10**9), 2)
VOLUMES_MAX, SNAPSHOTS_MAX = 6, 8


@dataclass
class Disk:
    size_bytes: int
    content: dict[str, str]

    def copy(self) -> Disk:
        return Disk(self.size_bytes, dict(self.content))


@dataclass
class Model:
    calls: Calls
    inside: Inside
    dice: random.Random
    volumes: dict[str, Disk] = field(default_factory=dict)
    snapshots: dict[str, Disk] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def step(self) -> None:
        choices = [self.create] * (len(self.volumes) < VOLUMES_MAX)
        if self.volumes:
            choices += [self.write] * 3 + [self.grow, self.delete_volume] + [self.reset]
            choices += [self.clone_volume] * (len(self.volumes) < VOLUMES_MAX)
            choices += [self.snapshot] * 2 * (len(self.snapshots) < SNAPSHOTS_MAX)
        if self.snapshots:
            choices += [self.delete_snapshot]
            choices += [self.clone_snapshot] * (len(self.volumes) < VOLUMES_MAX)
            choices += [self.revert] * 2 * bool(self.volumes)
        choice = self.dice.choice(choices)
        self.told.append(choice.__name__)
        choice()

    def some(self, of: dict[str, Disk]) -> str:
        return self.dice.choice(sorted(of))

    def create(self) -> None:
        volume = new_id()
        self.calls.create(volume, 12 * MIB)
        self.volumes[volume] = Disk(12 * MIB, {})

    def write(self) -> None:
        volume, block = self.some(self.volumes), self.dice.choice(BLOCKS)
        letter = self.dice.choice("abcdefgh")
        self.inside.do("write", image=f"vdi-{volume}", blocks={block: letter})
        self.volumes[volume].content[str(block)] = letter

    def grow(self) -> None:
        volume = self.some(self.volumes)
        size_bytes = self.volumes[volume].size_bytes + 4 * MIB
        ok(self.calls.ask("POST", f"volumes/{volume}/resize", {"size_bytes": size_bytes}))
        self.volumes[volume].size_bytes = size_bytes

    def snapshot(self) -> None:
        volume = self.some(self.volumes)
        self.snapshots[self.calls.snapshot(volume)] = self.volumes[volume].copy()

    def clone_volume(self) -> None:
        source, volume = self.some(self.volumes), new_id()
        self.calls.clone(volume, source)
        self.volumes[volume] = self.volumes[source].copy()

    def clone_snapshot(self) -> None:
        source, volume = self.some(self.snapshots), new_id()
        self.calls.clone(volume, source)
        self.volumes[volume] = self.snapshots[source].copy()

    def revert(self) -> None:
        volume, location = self.some(self.volumes), self.some(self.snapshots)
        self.calls.revert(volume, location)
        self.volumes[volume] = self.snapshots[location].copy()

    def reset(self) -> None:
        volume = self.some(self.volumes)
        ok(self.calls.ask("DELETE", f"volumes/{volume}/reset_point"))
        ok(self.calls.ask("PUT", f"volumes/{volume}/reset_point"))
        for letter in "yz":
            self.inside.do("write", image=f"vdi-{volume}", blocks={BLOCKS[0]: letter})
            ok(self.calls.ask("POST", f"volumes/{volume}/reset"))

    def delete_volume(self) -> None:
        volume = self.some(self.volumes)
        assert self.calls.delete(volume)
        del self.volumes[volume]

    def delete_snapshot(self) -> None:
        location = self.some(self.snapshots)
        assert self.calls.delete(location)
        del self.snapshots[location]

    def compare(self) -> None:
        listed = self.calls.listed()
        assert listed["broken"] == []
        assert {e["id"]: e["size_bytes"] for e in listed["volumes"]} == {
            volume: disk.size_bytes for volume, disk in self.volumes.items()
        }
        assert {e["location"]: e["size_bytes"] for e in listed["snapshots"]} == {
            location: disk.size_bytes for location, disk in self.snapshots.items()
        }
        for what, disk in {**self.volumes, **self.snapshots}.items():
            read = self.inside.do("read", blocks=list(BLOCKS), **where(self.calls, what))
            assert read == {str(block): disk.content.get(str(block), "") for block in BLOCKS}, what


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_keeps_every_content_and_leaves_nothing(service: Service, within: Inside, seed: int) -> None:
    model = Model(Calls(service, "other"), within, random.Random(seed))  # noqa: S311 - no secret
    try:
        for number in range(STEPS):
            model.step()
            if number % 10 == 9:
                model.calls.sweep()
                model.compare()
        while model.volumes or model.snapshots:
            if model.volumes and (not model.snapshots or model.dice.random() < 0.5):
                model.delete_volume()
            else:
                model.delete_snapshot()
        for _ in range(2):
            model.calls.sweep()
        assert leftovers_of(within) == []
    except Exception as error:
        raise AssertionError(f"SHOAL_SEED={seed}: {' '.join(model.told)}") from error
