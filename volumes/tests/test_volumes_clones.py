"""Clones, reverts and resets against a real Ceph, a pool of their own each time: content, order of deletes, no leak."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tests.ceph.dialog import Inside
from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok, refusal, where

pytestmark = pytest.mark.ceph


@pytest.fixture(scope="module", params=["", "clones"])
def calls(request: pytest.FixtureRequest, service: Service) -> Calls:
    """Pool `other`, with and without a namespace."""
    if request.param:
        service.cluster.rbd("namespace", "create", f"other/{request.param}")
    return Calls(service, "other", request.param)


@pytest.fixture(scope="module")
def within(calls: Calls) -> Iterator[Inside]:
    dialog = Inside(calls.service.cluster, calls.pool, calls.namespace)
    yield dialog
    dialog.stop()


@pytest.fixture(autouse=True)
def _leaves_nothing(calls: Calls, within: Inside) -> Iterator[None]:
    yield
    calls.sweep()
    assert leftovers_of(within) == []


LAST_OF_A_RESET_IN_PLACE = 3  # it takes the mark off; before that, the notice, and the mark
RESET_AS_A_LARGE_ONE = """
import rados, sys
sys.path.insert(0, "/repository")
from volumes import errors, images, revert
from volumes.pool import Pool
revert.IN_PLACE_MAX_BYTES = 1 << 20
cluster = rados.Rados(conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"})
cluster.connect()
ioctx = cluster.open_ioctx("other")
ioctx.set_namespace(sys.argv[1])
for call in (revert.reset, revert.make_reset_point):
    try:
        print(call(Pool(ioctx, None, print), sys.argv[2]))
    except errors.ServiceError as error:
        print(error.code)
print(list(images.get(Pool(ioctx, None, print), sys.argv[2]).snapshots))
"""


def image_id(calls: Calls, volume: str) -> str:
    return str(ok(calls.ask("GET", f"volumes/{volume}/holders"))["image_id"])


def read(within: Inside, calls: Calls, what: str, *blocks: int) -> list[str]:
    return list(within.do("read", blocks=list(blocks), **where(calls, what)).values())


def test_a_clone_of_a_snapshot(calls: Calls, within: Inside) -> None:
    source, clone = new_id(), new_id()
    calls.create(source)
    within.do("write", image=f"vdi-{source}", blocks={0: "a", 100: "b"})
    location = calls.snapshot(source, name_label="s")
    within.do("write", image=f"vdi-{source}", blocks={0: "x"})
    expected = {"id": clone, "size_bytes": 64 * MIB, "metadata": {"name_label": "clone"}}
    assert [calls.clone(clone, location, name_label="clone") for _ in range(2)] == [expected, expected]
    assert read(within, calls, clone, 0, 1, 100) == ["a", "", "b"]
    within.do("write", image=f"vdi-{clone}", blocks={0: "c"})
    assert read(within, calls, clone, 0, 100) == ["c", "b"]
    assert read(within, calls, location, 0) == ["a"]
    assert expected in calls.listed()["volumes"]
    spec = f"other/{calls.namespace}/vdi-{source}" if calls.namespace else f"other/vdi-{source}"
    cluster = calls.service.cluster
    snap = f"snap-{location.split('@')[1]}"
    (child,) = json.loads(cluster.rbd("children", f"{spec}@{snap}", "--format", "json"))
    assert child["image"] == f"vdi-{clone}"
    info = json.loads(cluster.rbd("info", spec.replace(source, clone), "--format", "json"))
    assert (info["parent"]["image"], info["parent"]["snapshot"]) == (f"vdi-{source}", snap)
    assert info["parent"]["overlap"] == 64 * MIB
    assert info["op_features"] == ["clone-child"]
    # Any order: the snapshot, then its volume, with the clone still reading from it.
    assert calls.delete(location)
    assert calls.delete(source)
    calls.sweep()
    assert read(within, calls, clone, 0, 100) == ["c", "b"]
    assert calls.listed()["snapshots"] == []
    assert [entry["id"] for entry in calls.listed()["volumes"]] == [clone]
    assert within.do("content")["trash"] != []
    assert calls.delete(clone)


def test_a_clone_of_a_volume(calls: Calls, within: Inside) -> None:
    source, clone = new_id(), new_id()
    calls.create(source, metadata={"name_label": "source"})
    within.do("write", image=f"vdi-{source}", blocks={3: "a"})
    for _ in range(2):
        assert calls.clone(clone, source)["metadata"] == {}
    within.do("write", image=f"vdi-{source}", blocks={3: "x"})
    assert read(within, calls, clone, 3) == ["a"]
    assert calls.listed()["snapshots"] == []
    calls.sweep()
    assert read(within, calls, clone, 3) == ["a"]
    calls.delete(source)
    calls.sweep()
    assert read(within, calls, clone, 3) == ["a"]
    calls.delete(clone)


def test_the_inner_snapshot_of_a_clone_goes_with_it(calls: Calls, within: Inside) -> None:
    source, clone = new_id(), new_id()
    calls.create(source)
    calls.clone(clone, source)
    assert within.do("content")["images"][f"vdi-{source}"] == [f"clone-{clone}"]
    calls.delete(clone)
    calls.sweep()
    assert within.do("content")["images"] == {f"vdi-{source}": []}
    calls.delete(source)


def test_a_clone_of_something_else_is_refused(calls: Calls) -> None:
    source, other, clone = new_id(), new_id(), new_id()
    calls.create(source)
    calls.create(other)
    calls.clone(clone, source)
    again = calls.ask("PUT", f"volumes/{clone}", {"source": other, "metadata": {}})
    assert refusal(again) == (409, "exists")
    assert refusal(calls.ask("PUT", f"volumes/{other}", {"source": source, "metadata": {}})) == (409, "exists")
    for volume in (source, other, clone):
        calls.delete(volume)


def test_a_person_may_flatten_a_clone(calls: Calls, within: Inside) -> None:
    source, clone = new_id(), new_id()
    calls.create(source)
    within.do("write", image=f"vdi-{source}", blocks={3: "a"})
    calls.clone(clone, source)
    within.do("flatten", image=f"vdi-{clone}")
    calls.sweep()
    assert within.do("content")["images"][f"vdi-{source}"] == []
    calls.delete(source)
    calls.sweep()
    assert read(within, calls, clone, 3) == ["a"]
    calls.delete(clone)


def test_revert_brings_the_content_back(calls: Calls, within: Inside) -> None:
    volume = new_id()
    calls.create(volume, metadata={"name_label": "disk"})
    within.do("write", image=f"vdi-{volume}", blocks={0: "a", 9: "b"})
    first = calls.snapshot(volume)
    within.do("write", image=f"vdi-{volume}", blocks={0: "c"})
    second = calls.snapshot(volume)
    ok(calls.ask("POST", f"volumes/{volume}/resize", {"size_bytes": 128 * MIB}))
    ok(calls.ask("PATCH", f"volumes/{volume}/metadata", {"name_label": "renamed"}))
    expected = {"id": volume, "size_bytes": 64 * MIB, "metadata": {"name_label": "renamed"}}
    for _ in range(2):
        assert calls.revert(volume, first) == expected
        assert read(within, calls, volume, 0, 9) == ["a", "b"]
        within.do("write", image=f"vdi-{volume}", blocks={0: "d"})
    assert ok(calls.ask("GET", f"volumes/{volume}")) == expected
    assert calls.listed()["volumes"] == [expected]
    calls.sweep()
    assert {entry["location"] for entry in calls.listed()["snapshots"]} == {first, second}
    assert calls.revert(volume, second)["size_bytes"] == 64 * MIB
    assert read(within, calls, volume, 0, 9) == ["c", "b"]
    third = calls.snapshot(volume)
    for location in (first, second):
        assert calls.delete(location)
    calls.sweep()
    assert read(within, calls, volume, 0, 9) == ["c", "b"]
    assert read(within, calls, third, 0, 9) == ["c", "b"]
    calls.delete(volume)
    calls.delete(third)


def test_the_kernel_finds_the_reverted_image_by_its_name(calls: Calls) -> None:
    """rbd_id.vdi-… is where krbd looks; the dialog opens by name as well."""
    volume = new_id()
    calls.create(volume)
    location = calls.snapshot(volume)
    calls.revert(volume, location)
    old = location.split("@")[0]
    spec = f"other/{calls.namespace}/vdi-{volume}" if calls.namespace else f"other/vdi-{volume}"
    now = json.loads(calls.service.cluster.rbd("info", spec, "--format", "json"))["id"]
    assert now != old
    base = json.loads(
        calls.service.cluster.rbd("info", spec.replace(f"vdi-{volume}", f"base-{old}"), "--format", "json")
    )
    assert base["id"] == old
    calls.delete(location)
    calls.delete(volume)


def test_a_reset_point_is_kept_over_many_resets(calls: Calls, within: Inside) -> None:
    volume = new_id()
    calls.create(volume)
    within.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    for _ in range(2):
        ok(calls.ask("PUT", f"volumes/{volume}/reset_point"))
    for letter in "xyz":
        within.do("write", image=f"vdi-{volume}", blocks={0: letter})
        ok(calls.ask("POST", f"volumes/{volume}/reset"))
        calls.sweep()
        assert read(within, calls, volume, 0) == ["a"]
    content = within.do("content")
    assert len(content["images"]) == 2, "the images of earlier runs are gone"
    within.do("write", image=f"vdi-{volume}", blocks={0: "n"})
    ok(calls.ask("DELETE", f"volumes/{volume}/reset_point"))
    ok(calls.ask("POST", f"volumes/{volume}/reset"))
    within.do("write", image=f"vdi-{volume}", blocks={0: "o"})
    ok(calls.ask("POST", f"volumes/{volume}/reset"))
    assert read(within, calls, volume, 0) == ["n"]
    calls.delete(volume)


def cut_a_reset_short(calls: Calls, spare: Service, within: Inside, volume: str) -> None:
    """In place, with some of its blocks left as they were. Such a disk has neither snapshots nor clones."""
    spare.kill()
    spare.start(dying_at=LAST_OF_A_RESET_IN_PLACE)
    with pytest.raises((http.client.HTTPException, OSError)):
        Calls(spare, calls.pool, calls.namespace).ask("POST", f"volumes/{volume}/reset")
    within.do("write", image=f"vdi-{volume}", blocks={1: "m", 72: "m"})
    assert ok(calls.ask("GET", f"volumes/{volume}/holders"))["half_reset"] is True
    copies = (
        ("POST", f"volumes/{volume}/snapshot", {"snapshot": new_id(), "metadata": {}}),
        ("PUT", f"volumes/{new_id()}", {"source": volume, "metadata": {}}),
    )
    for call in copies:
        assert refusal(calls.ask(*call)) == (409, "in_use")


def test_chains_end_at_the_hard_limit_and_are_shortened(calls: Calls, spare: Service, within: Inside) -> None:
    chain = [new_id()]
    calls.create(chain[0], 8 * MIB)
    within.do("write", image=f"vdi-{chain[0]}", blocks={0: "a", 70: "b"})
    for _ in range(14):
        chain.append(new_id())
        calls.clone(chain[-1], chain[-2])
    one_more = new_id()
    answer = calls.ask("PUT", f"volumes/{one_more}", {"source": chain[-1], "metadata": {}})
    assert refusal(answer) == (409, "too_deep")
    within.do("write", image=f"vdi-{chain[-1]}", blocks={1: "c"})
    location = calls.snapshot(chain[-1])
    within.do("write", image=f"vdi-{chain[-1]}", blocks={1: "d"})
    answer = calls.ask("POST", f"volumes/{chain[-1]}/revert", {"snapshot": location})
    assert refusal(answer) == (409, "too_deep")
    assert read(within, calls, chain[-1], 1) == ["d"]
    calls.delete(location)
    # A reset may go two deeper, and takes no longer for a large disk: it is a clone, too.
    within.do("write", image=f"vdi-{chain[-1]}", blocks={1: "c"})
    for _ in range(2):
        ok(calls.ask("PUT", f"volumes/{chain[-1]}/reset_point"))
        within.do("write", image=f"vdi-{chain[-1]}", blocks={1: "d"})
        was = image_id(calls, chain[-1])
        ok(calls.ask("POST", f"volumes/{chain[-1]}/reset"))
        assert image_id(calls, chain[-1]) != was
        ok(calls.ask("DELETE", f"volumes/{chain[-1]}/reset_point"))
    assert read(within, calls, chain[-1], 0, 1, 70) == ["a", "c", "b"]
    # A large one that deep is flattened first, a small one goes back in place.
    script = (RESET_AS_A_LARGE_ONE, calls.namespace, chain[-1])
    assert calls.service.cluster.run("python3", "-B", "-c", *script).split() == ["too_deep", "too_deep", "[]"]
    ok(calls.ask("PUT", f"volumes/{chain[-1]}/reset_point"))
    within.do("write", image=f"vdi-{chain[-1]}", blocks={1: "d"})
    was = image_id(calls, chain[-1])
    ok(calls.ask("POST", f"volumes/{chain[-1]}/reset"))
    assert image_id(calls, chain[-1]) == was
    # Also of an object that it had none of before, and with a sweep in between: what lies behind is the parent.
    within.do("write", image=f"vdi-{chain[-1]}", blocks={71: "d"})
    calls.sweep()
    ok(calls.ask("POST", f"volumes/{chain[-1]}/reset"))
    assert read(within, calls, chain[-1], 0, 1, 70, 71) == ["a", "c", "b", ""]
    cut_a_reset_short(calls, spare, within, chain[-1])
    ok(calls.ask("DELETE", f"volumes/{chain[-1]}/reset_point"))
    calls.sweep()
    for volume in chain[1:]:
        assert read(within, calls, volume, 0, 70) == ["a", "b"]
    assert read(within, calls, chain[-1], 1) == ["c"]
    assert within.do("parent", image=f"vdi-{chain[-1]}") is None, "flattened"
    assert within.do("parent", image=f"vdi-{chain[3]}") is not None
    calls.clone(one_more, chain[-1])
    for volume in [*chain, one_more]:
        calls.delete(volume)


def test_a_data_pool(calls: Calls, within: Inside) -> None:
    """Pool rbd serves as the data pool here: snapshots are numbered there, and the clone's data go there, too."""
    volume, clone = new_id(), new_id()
    calls.create(volume, data_pool="rbd")
    within.do("write", image=f"vdi-{volume}", blocks={0: "a"})
    location = calls.snapshot(volume)
    within.do("write", image=f"vdi-{volume}", blocks={0: "b"})
    calls.clone(clone, location)
    within.do("write", image=f"vdi-{clone}", blocks={100: "c"})
    assert read(within, calls, location, 0) == ["a"]
    assert read(within, calls, clone, 0, 100) == ["a", "c"]
    assert not [each for each in within.do("content")["objects"] if each.startswith("rbd_data")]
    there = within.do("content", pool="rbd")["objects"]
    image_id = location.split("@")[0]
    assert [each for each in there if image_id in each]
    calls.revert(volume, location)
    assert read(within, calls, volume, 0) == ["a"]
    calls.delete(location)
    calls.delete(volume)
    calls.delete(clone)
    calls.sweep()
    calls.service.cluster.wait_for(
        lambda: not [each for each in within.do("content", pool="rbd")["objects"] if image_id in each], 20, "the OSDs"
    )
