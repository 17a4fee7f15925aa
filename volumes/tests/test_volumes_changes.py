"""Changed blocks and used bytes against a real Ceph, compared with what was written and with what `rbd diff` says."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, new_id, ok, refusal, where

pytestmark = pytest.mark.ceph
BLOCK_BYTES = 65536
AT_ONCE = 12  # more than a service has threads of any kind


@pytest.fixture(scope="module")
def calls(service: Service) -> Calls:
    return Calls(service)


@pytest.fixture
def volume(calls: Calls) -> Iterator[str]:
    made = new_id()
    calls.create(made, 64 * MIB)
    yield made
    calls.delete(made)


def blocks(answer: dict[str, Any]) -> list[int]:
    assert answer["block_bytes"] == BLOCK_BYTES
    bitmap = base64.b64decode(answer["bitmap"])
    assert len(bitmap) == answer["size_bytes"] // BLOCK_BYTES // 8
    return [8 * byte + bit for byte, value in enumerate(bitmap) for bit in range(8) if value & (0x80 >> bit)]


def changes(calls: Calls, older: str | None, newer: str) -> list[int]:
    return blocks(ok(calls.ask("POST", "changes", {"from": older, "to": newer})))


def test_the_blocks_that_were_written_between_two_snapshots(calls: Calls, inside: Inside, volume: str) -> None:
    image = f"vdi-{volume}"
    inside.do("write", image=image, blocks={0: "a", 64: "a", 960: "a"})
    first = calls.snapshot(volume)
    inside.do("write", image=image, blocks={1: "b", 64: "b", 896: "b"})
    second = calls.snapshot(volume)
    inside.do("write", image=image, blocks={448: "c"})
    assert changes(calls, None, first) == [0, 64, 960]
    assert changes(calls, first, second) == [1, 64, 896]
    assert changes(calls, first, volume) == [1, 64, 448, 896]
    assert changes(calls, first, first) == []
    snap = f"rbd/{image}@snap-{second.split('@')[1]}"
    said = json.loads(
        calls.service.cluster.rbd("diff", "--from-snap", f"snap-{first.split('@')[1]}", snap, "--format", "json")
    )
    assert {int(extent["offset"]) // BLOCK_BYTES for extent in said} == {1, 64, 896}
    for location in (first, second):
        calls.delete(location)


def test_a_hole_in_a_new_data_object_counts_as_changed(calls: Calls, inside: Inside, volume: str) -> None:
    """Ceph knows how far a new object reaches, not what of it was written: more is reported, never less."""
    first = calls.snapshot(volume)
    inside.do("write", image=f"vdi-{volume}", blocks={70: "a"})
    assert changes(calls, first, volume) == list(range(64, 71))
    assert ok(calls.ask("GET", f"usage/{volume}"))["used_bytes"] == 7 * BLOCK_BYTES
    calls.delete(first)


def test_a_grown_disk(calls: Calls, inside: Inside, volume: str) -> None:
    first = calls.snapshot(volume)
    ok(calls.ask("POST", f"volumes/{volume}/resize", {"size_bytes": 96 * MIB}))
    inside.do("write", image=f"vdi-{volume}", blocks={1472: "b"})
    assert changes(calls, first, volume) == [1472]
    calls.delete(first)


def test_from_nothing_a_clone_has_its_parents_data_too(calls: Calls, inside: Inside, volume: str) -> None:
    inside.do("write", image=f"vdi-{volume}", blocks={3: "a", 200: "a"})
    source, clone = calls.snapshot(volume), new_id()
    calls.clone(clone, source)
    inside.do("write", image=f"vdi-{clone}", blocks={700: "b"})
    found = changes(calls, None, clone)
    assert {3, 200, 700} <= set(found)
    taken = calls.snapshot(clone)
    inside.do("write", image=f"vdi-{clone}", blocks={4: "c"})
    assert changes(calls, taken, clone) == [4]
    # The object that block 700 is in, and no more: what is read from the parent is the parent's.
    assert ok(calls.ask("GET", f"usage/{clone}"))["used_bytes"] < 8 * MIB
    for what in (taken, clone, source):
        calls.delete(what)


TRIM_AS_OLD_KERNELS = """
import rados, sys
cluster = rados.Rados(conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"})
cluster.connect()
ioctx = cluster.open_ioctx("rbd")
image_id, *snaps = sys.argv[1:]
ioctx.set_self_managed_snap_write([int(each) for each in snaps])

def trim(number, text=b""):
    with rados.WriteOpCtx() as operation:
        operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        operation.truncate(0)
        if text:
            operation.write(text, 0)
        ioctx.operate_write_op(operation, f"rbd_data.{image_id}.{number:016x}")

if not snaps:
    trim(3)
else:
    trim(1)
    trim(2, b"b" * 65536)
    ioctx.remove_object(f"rbd_data.{image_id}.{3:016x}")
"""


def test_what_was_trimmed_in_a_clone_counts_as_changed(calls: Calls, inside: Inside, volume: str) -> None:
    """A whole object: an empty one hides the parent's. By librbd, by a kernel that copies nothing up before, with a new
    write in it; and one that a reset in place has taken away, so that the parent's shows again.
    """
    written = {64 * number + block: "a" for number in range(6) for block in (0, 40)}
    inside.do("write", image=f"vdi-{volume}", blocks=written)
    clone = new_id()
    calls.clone(clone, volume)
    cluster, blocks_of = calls.service.cluster, list(written)

    def trim(*snaps: str) -> None:
        cluster.run("python3", "-B", "-c", TRIM_AS_OLD_KERNELS, image_id, *snaps)

    image_id = ok(calls.ask("GET", f"volumes/{clone}/holders"))["image_id"]
    trim()
    first = calls.snapshot(clone)
    (snap,) = json.loads(cluster.rbd("snap", "ls", f"rbd/vdi-{clone}", "--format", "json"))
    trim(str(snap["id"]))
    inside.do("discard", image=f"vdi-{clone}", block=0, blocks=64)
    inside.do("write", image=f"vdi-{clone}", blocks={330: "z"})
    second = calls.snapshot(clone)
    before = inside.do("read", blocks=blocks_of, **where(calls, first))
    after = inside.do("read", blocks=blocks_of, **where(calls, clone))
    differ = {block for block in blocks_of if before[str(block)] != after[str(block)]}
    assert differ == {0, 40, 64, 104, 128, 168, 192, 232}
    for newer in (clone, second):
        found = changes(calls, first, newer)
        assert differ <= set(found)
        assert [block for block in found if block >= 256] == [330], "of other objects what was written, and no more"
    assert changes(calls, second, clone) == []
    for what in (second, first, clone):
        calls.delete(what)


def test_what_has_no_history_in_common_is_refused(calls: Calls, volume: str) -> None:
    other = new_id()
    calls.create(other, 64 * MIB)
    first, later, foreign = calls.snapshot(volume), calls.snapshot(volume), calls.snapshot(other)
    for older, newer in ((first, foreign), (later, first), (foreign, volume)):
        answer = calls.ask("POST", "changes", {"from": older, "to": newer})
        assert refusal(answer) == (409, "no_common_history")
    for what in (first, later, foreign, other):
        calls.delete(what)


def test_used_bytes(calls: Calls, inside: Inside, volume: str) -> None:
    assert ok(calls.ask("GET", f"usage/{volume}"))["used_bytes"] == 0
    inside.do("write", image=f"vdi-{volume}", blocks={0: "a", 1: "a", 640: "a"})
    assert ok(calls.ask("GET", f"usage/{volume}"))["used_bytes"] == 3 * BLOCK_BYTES
    location = calls.snapshot(volume)
    inside.do("write", image=f"vdi-{volume}", blocks={896: "a"})
    assert ok(calls.ask("GET", f"usage/{location}"))["used_bytes"] == 3 * BLOCK_BYTES
    assert ok(calls.ask("GET", f"usage/{volume}"))["used_bytes"] == 4 * BLOCK_BYTES
    calls.delete(location)


@pytest.fixture(scope="module")
def apart(service: Service) -> Calls:
    """A place of its own: nobody can sweep where a service was killed in the middle of that, for five minutes."""
    service.cluster.rbd("namespace", "create", "rbd/vast")
    return Calls(service, namespace="vast")


@pytest.fixture
def vast(apart: Calls, inside: Inside) -> Iterator[str]:
    """A disk that nothing was written to and whose every object has to be asked for; freeing it would take as long."""
    made = new_id()
    apart.create(made, 16 << 40)
    image_id = ok(apart.ask("GET", f"volumes/{made}/holders"))["image_id"]
    yield made
    inside.do("remove_object", object=f"rbd_header.{image_id}", namespace="vast")
    apart.delete(made)


def test_comparisons_of_vast_disks_keep_no_short_call_waiting(spare: Service, vast: str) -> None:
    spare.start()
    connections = [spare.connect() for _ in range(AT_ONCE)]
    for connection in connections:
        body = json.dumps({"from": None, "to": vast})
        connection.request("POST", "/v1/pools/rbd/changes?namespace=vast", body)
    for path in ("volumes", f"volumes/{vast}", "holders"):
        began = time.monotonic()
        ok(Calls(spare, namespace="vast").ask("GET", path))
        assert time.monotonic() - began < 6, path
    spare.kill()
    for connection in connections:
        connection.close()


COMPARE = """
import rados, sys
sys.path.insert(0, "/repository")
from volumes import changes
from volumes.errors import ServiceError
from volumes.pool import Pool
cluster = rados.Rados(conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"})
cluster.connect()
changes.CHANGES_TIMEOUT_S = 0
ioctx = cluster.open_ioctx("rbd")
ioctx.set_namespace("vast")
try:
    changes.changed(Pool(ioctx, None, print), None, sys.argv[1])
except ServiceError as error:
    print(error.status, error.code)
"""


def test_what_cannot_be_compared_in_time_is_told_apart_from_a_service_that_does_not_answer(
    cluster: Cluster, vast: str
) -> None:
    assert cluster.run("python3", "-B", "-c", COMPARE, vast).split() == ["504", "too_long"]
