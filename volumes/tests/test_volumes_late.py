"""A service that stands still within a call, and goes on when another has done it and the disk has been used since.

As a storage VM that is paused, or an OSD that takes its time. What comes late must change nothing any more.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok, refusal, where

pytestmark = pytest.mark.ceph
STEPS_MAX = 40
HEADER = 3  # of what making a disk changes: after the name and its object
CLONES_NUMBER = 4  # of what cloning a disk changes: after the name, its object and the header
NOTICE = 3  # of what taking a snapshot changes: after a number and the header
CLAIM_AGAIN = 3  # of what giving a name changes where a deletion has left its object: after the directory and a try
EVERY = int(os.environ.get("SHOAL_KILLED_EVERY", "4"))
SEED = int(os.environ.get("SHOAL_TEST_SEED", str(time.time_ns() % 1_000_000)))


@dataclass
class Scene:
    """A volume of 16 MiB with content "b", and a snapshot of it from when that was "a", and it had 8 MiB."""

    calls: Calls
    inside: Inside
    volume: str
    location: str
    other: str

    def look(self) -> dict[str, Any]:
        listed = self.calls.listed()
        names = [entry["id"] for entry in listed["volumes"]] + [entry["location"] for entry in listed["snapshots"]]
        read = {name: self.inside.do("read", blocks=[0], **where(self.calls, name)) for name in names}
        return {"listed": {kind: sorted(map(str, found)) for kind, found in listed.items()}, "content": read}

    def use(self, volume: str) -> None:
        """What its owner does with a disk: it grows and is renamed, and a guest writes to it."""
        ok(self.calls.ask("POST", f"volumes/{volume}/resize", {"size_bytes": 32 * MIB}))
        ok(self.calls.ask("PATCH", f"volumes/{volume}/metadata", {"name_label": "used"}))
        self.inside.do("write", image=f"vdi-{volume}", blocks={0: "c"})

    def revert(self, volume: str) -> None:
        self.calls.revert(volume, self.calls.snapshot(volume))
        self.use(volume)


@dataclass(frozen=True)
class Operation:
    """A call, and what is done when it has succeeded."""

    name: str
    call: Callable[[Scene], tuple[str, str, Any]]
    then: Callable[[Scene], object]


OPERATIONS = (
    Operation(
        "create",
        lambda s: ("PUT", f"volumes/{s.other}", {"size_bytes": MIB, "metadata": {}}),
        lambda s: s.revert(s.other),
    ),
    Operation(
        "clone of a snapshot",
        lambda s: ("PUT", f"volumes/{s.other}", {"source": s.location, "metadata": {}}),
        lambda s: s.use(s.other),
    ),
    Operation(
        "clone of a volume",
        lambda s: ("PUT", f"volumes/{s.other}", {"source": s.volume, "metadata": {}}),
        lambda s: s.revert(s.other),
    ),
    Operation(
        "revert",
        lambda s: ("POST", f"volumes/{s.volume}/revert", {"snapshot": s.location}),
        lambda s: s.use(s.volume),
    ),
    Operation(
        "reset",
        lambda s: ("POST", f"volumes/{s.volume}/reset", None),
        lambda s: s.use(s.volume),
    ),
    Operation(
        "snapshot",
        lambda s: ("POST", f"volumes/{s.volume}/snapshot", {"snapshot": s.other, "metadata": {}}),
        lambda s: s.revert(s.volume),
    ),
    Operation(
        "resize",
        lambda s: ("POST", f"volumes/{s.volume}/resize", {"size_bytes": 24 * MIB}),
        lambda s: s.use(s.volume),
    ),
    Operation("delete", lambda s: ("DELETE", f"volumes/{s.volume}", None), lambda s: s.calls.sweep()),
)


def set_scene(calls: Calls, inside: Inside) -> Scene:
    volume = new_id()
    calls.create(volume, 8 * MIB, metadata={"name_label": "made"})
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    location = calls.snapshot(volume)
    ok(calls.ask("POST", f"volumes/{volume}/resize", {"size_bytes": 16 * MIB}))
    inside.do("write", image=f"vdi-{volume}", blocks={0: "b"})
    return Scene(calls, inside, volume, location, new_id())


def strike(scene: Scene, told: str) -> None:
    listed = scene.calls.listed()
    for what in [each["location"] for each in listed["snapshots"]] + [each["id"] for each in listed["volumes"]]:
        scene.calls.delete(what)
    scene.calls.sweep()
    scene.calls.sweep()
    assert leftovers_of(scene.inside) == [], told


def stands_still(service: Service, asked: Future[Any]) -> bool:
    """Wait until it stops or has answered: whether it has stopped."""
    end = time.monotonic() + 20
    while not asked.done():
        if service.has_stopped():
            return True
        assert time.monotonic() < end
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_what_goes_on_late_changes_nothing(
    service: Service, spare: Service, within: Inside, operation: Operation
) -> None:
    calls = Calls(service, "other")
    chance = random.Random(f"{SEED} {operation.name}")  # noqa: S311 - no secret
    for number in itertools.chain([1], range(1 + chance.randint(1, EVERY), STEPS_MAX, EVERY)):
        told = f"SHOAL_TEST_SEED={SEED}, {operation.name}, step {number}"
        scene = set_scene(calls, within)
        spare.kill()
        spare.start(stopping_at=number)
        with ThreadPoolExecutor(1) as thread:
            late = thread.submit(lambda: Calls(spare, "other").ask(*operation.call(scene)))  # noqa: B023 - ended here
            has_stopped = stands_still(spare, late)
            try:
                if has_stopped:
                    ok(calls.ask(*operation.call(scene)))
                operation.then(scene)
                before = scene.look()
            finally:
                if has_stopped:
                    spare.go_on()
            late.result()
        calls.sweep()
        assert scene.look() == before, told
        strike(scene, told)
        if not has_stopped:
            assert number > 1, "it makes at least one change, and answers"
            return
    raise AssertionError(f"{operation.name}: more than {STEPS_MAX} steps")


def test_what_nobody_waits_for_any_more_is_not_begun(service: Service, within: Inside, spare: Service) -> None:
    """A request that a service has received while it stood still, and whose sender has asked another one since."""
    calls = Calls(service, "other")
    scene = set_scene(calls, within)
    spare.kill()
    spare.start()
    connection = spare.connect()
    connection.request("GET", "/v1/status")
    assert connection.getresponse().read()
    spare.stand_still()
    path = f"/v1/pools/other/volumes/{scene.volume}/revert"
    connection.request("POST", path, json.dumps({"snapshot": scene.location}))
    connection.close()
    calls.revert(scene.volume, scene.location)
    scene.use(scene.volume)
    before = scene.look()
    spare.go_on()
    service.cluster.wait_for(lambda: "revert 408" in spare.log.read_text(), 10, "the request to be refused")
    assert scene.look() == before
    strike(scene, "")


def test_a_copy_that_fails_takes_no_snapshot_away(service: Service, spare: Service, within: Inside) -> None:
    """When it goes on, a host that holds the disk does not answer: for this copy there is no one moment any more."""
    calls, host = Calls(service, "other"), Inside(service.cluster, "other")
    scene = set_scene(calls, within)
    spare.kill()
    spare.start(stopping_at=NOTICE)
    call = ("POST", f"volumes/{scene.volume}/snapshot", {"snapshot": scene.other, "metadata": {}})
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(lambda: Calls(spare, "other").ask(*call))
        assert stands_still(spare, late)
        taken = ok(calls.ask(*call))
        host.do("hold", image=f"vdi-{scene.volume}")
        before = scene.look()
        host.stand_still()
        spare.go_on()
        assert refusal(late.result()) == (409, "in_use")
    host.go_on()
    host.do("let_go", image=f"vdi-{scene.volume}")
    host.kill()
    assert scene.look() == before
    assert taken["location"] in before["content"]
    strike(scene, "")


def test_a_name_is_mapped_though_a_deletion_ended_while_it_was_given(
    service: Service, spare: Service, within: Inside
) -> None:
    calls = Calls(service, "other")
    volume = new_id()
    left = f"rbd_id.vdi-{volume}"
    within.do("put_object", object=left, text="\x0e\0\0\0" + "0" * 14)
    spare.kill()
    spare.start(stopping_at=CLAIM_AGAIN)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(Calls(spare, "other").create, volume)
        assert stands_still(spare, late)
        within.do("remove_object", object=left)
        spare.go_on()
        late.result()
    assert within.do("read", image=f"vdi-{volume}", blocks=[0]) == {"0": ""}
    calls.delete(volume)
    calls.sweep()
    assert leftovers_of(within) == []


def test_the_mark_of_the_next_owner_stays(service: Service, spare: Service) -> None:
    calls, late_calls = Calls(service, "other"), Calls(spare, "other")
    gone, comes = {"sr": new_id()}, {"sr": new_id()}
    ok(calls.ask("PUT", "owner", gone))
    spare.kill()
    spare.start(stopping_at=1)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(lambda: late_calls.ask("DELETE", "owner", gone))
        assert stands_still(spare, late)
        ok(calls.ask("DELETE", "owner", gone))
        ok(calls.ask("PUT", "owner", comes))
        spare.go_on()
        ok(late.result())
    assert ok(calls.ask("GET", "owner")) == comes
    ok(calls.ask("DELETE", "owner", comes))
    assert ok(calls.ask("GET", "owner")) == {"sr": None}


@pytest.mark.parametrize("made_of", ["nothing", "a disk"])
def test_what_is_made_when_its_name_is_gone_is_cleared_away(
    service: Service, spare: Service, within: Inside, made_of: str
) -> None:
    """Nobody would find it, and a clone would keep its source for ever."""
    calls = Calls(service, "other")
    scene = set_scene(calls, within)
    body = {"source": scene.volume} if made_of == "a disk" else {"size_bytes": MIB}
    call = ("PUT", f"volumes/{scene.other}", body)
    spare.kill()
    spare.start(stopping_at=HEADER)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(lambda: Calls(spare, "other").ask(*call))
        assert stands_still(spare, late)
        ok(calls.ask(*call))
        calls.delete(scene.other)
        calls.sweep()
        spare.go_on()
        assert refusal(late.result()) == (409, "in_use")
    strike(scene, made_of)


def test_a_clone_has_all_of_a_disk_that_grew_meanwhile(service: Service, spare: Service, within: Inside) -> None:
    calls = Calls(service, "other")
    scene = set_scene(calls, within)
    spare.kill()
    spare.start(stopping_at=CLONES_NUMBER)
    with ThreadPoolExecutor(1) as thread:
        late = thread.submit(Calls(spare, "other").clone, scene.other, scene.volume)
        assert stands_still(spare, late)
        ok(calls.ask("POST", f"volumes/{scene.volume}/resize", {"size_bytes": 32 * MIB}))
        within.do("write", image=f"vdi-{scene.volume}", blocks={300: "c"})
        spare.go_on()
        assert late.result()["size_bytes"] == 32 * MIB
    assert within.do("read", image=f"vdi-{scene.other}", blocks=[0, 300]) == {"0": "b", "300": "c"}
    strike(scene, "")
