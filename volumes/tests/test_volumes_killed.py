"""The volume service killed with SIGKILL before changes that it makes in Ceph, and before its answer.

After that the caller repeats the call at another service, or nobody does; a sweep later the pool holds what it must.
Of the changes after the first one in $SHOAL_KILLED_EVERY is taken (default 3; 1 takes all), others each time.
"""

from __future__ import annotations

import http.client
import itertools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.ceph.dialog import Inside, Refused
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok, where

pytestmark = pytest.mark.ceph
STEPS_MAX = 60
SWEEP_STEPS_MAX = 600
EVERY = int(os.environ.get("SHOAL_KILLED_EVERY", "3"))
SEED = int(os.environ.get("SHOAL_TEST_SEED", str(time.time_ns() % 1_000_000)))
GONE = None


@dataclass
class Scene:
    """A volume with content "b", a snapshot of it from when that was "a", and room for a second volume."""

    calls: Calls
    inside: Inside
    volume: str
    location: str
    other: str
    added: str

    def letter(self, what: str) -> str | None:
        """The content of a volume or snapshot, None if it is not there."""
        kind = "snapshots" if "@" in what else "volumes"
        if self.calls.ask("GET", f"{kind}/{what}")[0] == 404:
            return None
        return str(self.inside.do("read", blocks=[0], **where(self.calls, what))["0"])

    def state(self) -> dict[str, str | None]:
        listed = self.calls.listed()
        assert listed["broken"] == []
        found = {
            "volume": self.letter(self.volume),
            "snapshot": self.letter(self.location),
            "other": self.letter(self.other),
            "added": next((self.letter(s["location"]) for s in listed["snapshots"] if s["id"] == self.added), None),
        }
        known = {self.volume: "volume", self.other: "other"}
        assert {entry["id"] for entry in listed["volumes"]} == {v for v, key in known.items() if found[key] is not None}
        return found


@dataclass(frozen=True)
class Operation:
    """A call, and what it changes of the scene."""

    name: str
    call: Callable[[Scene], tuple[str, str, Any]]
    changes: dict[str, str | None]
    prepare: Callable[[Scene], object] = id


def reset_once(scene: Scene) -> None:
    ok(scene.calls.ask("PUT", f"volumes/{scene.volume}/reset_point"))
    ok(scene.calls.ask("POST", f"volumes/{scene.volume}/reset"))
    scene.inside.do("write", image=f"vdi-{scene.volume}", blocks={0: "c"})


OPERATIONS = (
    Operation("create", lambda s: ("PUT", f"volumes/{s.other}", {"size_bytes": MIB, "metadata": {}}), {"other": ""}),
    Operation(
        "snapshot",
        lambda s: ("POST", f"volumes/{s.volume}/snapshot", {"snapshot": s.added, "metadata": {}}),
        {"added": "b"},
    ),
    Operation(
        "clone of a snapshot",
        lambda s: ("PUT", f"volumes/{s.other}", {"source": s.location, "metadata": {}}),
        {"other": "a"},
    ),
    Operation(
        "clone of a volume",
        lambda s: ("PUT", f"volumes/{s.other}", {"source": s.volume, "metadata": {}}),
        {"other": "b"},
    ),
    Operation("revert", lambda s: ("POST", f"volumes/{s.volume}/revert", {"snapshot": s.location}), {"volume": "a"}),
    Operation("delete", lambda s: ("DELETE", f"volumes/{s.volume}", None), {"volume": GONE}),
    Operation("delete of a snapshot", lambda s: ("DELETE", f"snapshots/{s.location}", None), {"snapshot": GONE}),
    Operation("reset", lambda s: ("POST", f"volumes/{s.volume}/reset", None), {"volume": "b"}, reset_once),
    Operation("resize", lambda s: ("POST", f"volumes/{s.volume}/resize", {"size_bytes": 16 * MIB}), {}),
)


def set_scene(calls: Calls, inside: Inside) -> Scene:
    volume = new_id()
    calls.create(volume, 8 * MIB)
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    location = calls.snapshot(volume)
    inside.do("write", image=f"vdi-{volume}", blocks={0: "b"})
    return Scene(calls, inside, volume, location, new_id(), new_id())


def strike(scene: Scene, operation: Operation) -> None:
    for listed in scene.calls.listed()["snapshots"]:
        scene.calls.delete(listed["location"])
    for entry in scene.calls.listed()["volumes"]:
        scene.calls.delete(entry["id"])
    scene.calls.sweep()
    scene.calls.sweep()
    assert leftovers_of(scene.inside) == [], operation.name


def ask_once(service: Service, call: tuple[str, str, Any]) -> bool:
    """Whether an answer came; it must then be a success."""
    try:
        ok(Calls(service, "other").ask(*call))
    except (http.client.HTTPException, OSError):
        return False
    return True


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_killed_before_each_step(service: Service, spare: Service, within: Inside, operation: Operation) -> None:
    """By chance the caller repeats the call at once, or only after a sweep."""
    calls = Calls(service, "other")
    chance = random.Random(f"{SEED} {operation.name}")  # noqa: S311 - no secret
    for number in itertools.chain([1], range(1 + chance.randint(1, EVERY), STEPS_MAX, EVERY)):
        repeated, told = chance.random() < 0.5, f"SHOAL_TEST_SEED={SEED}, {operation.name}, step {number}"
        scene = set_scene(calls, within)
        operation.prepare(scene)
        before = scene.state()
        after = {**before, **operation.changes}
        spare.kill()
        spare.start(dying_at=number)
        survived = ask_once(spare, operation.call(scene))
        assert survived or spare.process is None or spare.process.wait(20) != 0
        if repeated and not survived:
            ok(calls.ask(*operation.call(scene)))
        for _ in range(2):  # the first may only find out since when something is half made
            calls.sweep()
        state = scene.state()
        assert state in ([after] if repeated or survived else [before, after]), told
        if survived:
            strike(scene, operation)
            assert number > 1, "it makes at least one change, and answers"
            return
        if not repeated:  # what a sweep has undone or finished can be asked for again
            ok(calls.ask(*operation.call(scene)))
            assert scene.state() == after
        strike(scene, operation)
    raise AssertionError(f"{operation.name}: more than {STEPS_MAX} steps")


def bury(scene: Scene) -> None:
    """Deletes that leave a sweep all that it can meet: snapshots with and without clones, of each kind, and reverts."""
    calls, volume = scene.calls, scene.volume
    clone, reverted = new_id(), new_id()
    calls.clone(scene.other, scene.location)
    calls.clone(clone, scene.other)
    calls.create(reverted, 8 * MIB)
    taken = calls.snapshot(reverted)
    calls.revert(reverted, taken)
    reset_once(scene)
    for what in (scene.location, volume, scene.other, clone, taken, reverted):
        assert calls.delete(what)


def test_a_sweep_killed_anywhere_is_finished_by_the_next(spare: Service, within: Inside) -> None:
    calls = Calls(spare, "other")
    spare.kill()
    spare.start(dying_at=10**9)  # it serves, and does not sweep
    chance = random.Random(f"{SEED} a sweep")  # noqa: S311 - no secret
    for number in range(chance.randint(1, 4 * EVERY), SWEEP_STEPS_MAX, 4 * EVERY):
        bury(set_scene(calls, within))
        sweeper = spare.start_sweeper(number)
        sweeper.say({"pool": "other", "namespace": "", "age_s": 0})
        try:
            survived = sweeper.answer() is None
            sweeper.stop()
        except Refused:
            survived = False
            within.do("remove_object", object="shoal.purge")  # the dead one's lock, which would last five minutes
        calls.sweep()
        calls.sweep()
        assert leftovers_of(within) == [], f"SHOAL_TEST_SEED={SEED}, step {number}"
        if survived:
            assert number > 20
            return
    raise AssertionError("it never ends")
