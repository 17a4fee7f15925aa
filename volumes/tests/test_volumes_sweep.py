"""What the sweeper does with what is left in a pool, and what it leaves alone."""

from __future__ import annotations

import json

import pytest

from tests.ceph.dialog import Inside
from volumes.tests.calls import MIB, Calls, leftovers_of, new_id, ok, where

pytestmark = pytest.mark.ceph


def image_id(calls: Calls, volume: str) -> str:
    return str(json.loads(calls.service.cluster.rbd("info", f"other/vdi-{volume}", "--format", "json"))["id"])


def test_what_is_young_is_left(calls: Calls, within: Inside) -> None:
    """A name without a header is an image that is just being made: nothing to see, nothing to clear up."""
    volume = new_id()
    calls.create(volume)
    within.do("remove_object", object=f"rbd_header.{image_id(calls, volume)}")
    calls.sweep(age_s=600)
    assert f"vdi-{volume}" in within.do("content")["images"]
    assert calls.listed() == {"volumes": [], "snapshots": [], "broken": []}
    # It can still be made.
    assert calls.create(volume)["size_bytes"] == 64 * MIB
    calls.delete(volume)


DIRECTORY = """
import rados, sys
sys.path.insert(0, "/repository")
from volumes import directory
cluster = rados.Rados(conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"})
cluster.connect()
ioctx = cluster.open_ioctx("other")
name = "vdi-" + sys.argv[1]
"""
FOLLOW_LATE = """
for there in ("00000000000002", "00000000000001", "00000000000000"):
    directory.write_id_object(ioctx, name, there)
    directory.follow_replaced(ioctx, sys.argv[1], "00000000000000", "00000000000001")
    print(directory.read_id_object(ioctx, name))
directory.remove_id_object(ioctx, name, "00000000000001")
print([found.key for found in ioctx.list_objects() if found.key.endswith(("0000000", sys.argv[1]))])
"""


def test_who_follows_a_change_late_gives_no_name_back(calls: Calls) -> None:
    """The name stands for what has replaced the replacement, for that itself, or still for the old image."""
    said = calls.service.cluster.run("python3", "-c", DIRECTORY + FOLLOW_LATE, new_id())
    assert said.splitlines() == ["00000000000002", "00000000000001", "00000000000001", "[]"]


LOOK_LATE = """
find_id = directory.find_id

def then_its_maker_goes_on(*where):
    found = find_id(*where)
    directory.write_id_object(ioctx, name, "00000000000002")
    return found

image_id = directory.claim(ioctx, name)
ioctx.remove_object(directory.id_object(name))
directory.find_id = then_its_maker_goes_on
print(directory.age_s(ioctx, name), directory.read_id_object(ioctx, name))
directory.remove_id_object(ioctx, name, "00000000000002")
directory.forget(ioctx, image_id, name)
"""


DELETE_LATE = """
from volumes import images
from volumes.pool import Pool
find_id = directory.find_id

def then_it_is_made_again(*where):
    found = find_id(*where)
    directory.find_id = find_id
    print(found, directory.claim(*where) == directory.read_id_object(*where))
    return found

directory.find_id = then_it_is_made_again
print(images.remove(Pool(ioctx, None, print), sys.argv[1])["removed"])
image_id = find_id(ioctx, name)
print(directory.read_id_object(ioctx, name) == image_id)
directory.forget(ioctx, image_id, name)
"""


def test_a_late_deletion_takes_no_object_from_a_name_that_is_given_anew(calls: Calls) -> None:
    said = calls.service.cluster.run("python3", "-c", DIRECTORY + DELETE_LATE, new_id())
    assert said.split() == ["None", "True", "False", "True"]


def test_a_look_at_what_is_being_made_gives_no_name_back(calls: Calls) -> None:
    """Its maker is between the name and the name's object, goes on, and the disk is reverted at once."""
    said = calls.service.cluster.run("python3", "-c", DIRECTORY + LOOK_LATE, new_id())
    assert said.split() == ["0.0", "00000000000002"]


def test_an_entry_without_a_snapshot_is_removed_when_it_is_old(calls: Calls) -> None:
    volume, snapshot = new_id(), new_id()
    calls.create(volume)
    entry = json.dumps({"of": volume, "made_at": 0, "metadata": {}})
    calls.service.cluster.rbd("image-meta", "set", f"other/vdi-{volume}", f"shoal.snap.{snapshot}", entry)
    assert calls.listed()["snapshots"] == []
    assert calls.ask("GET", f"snapshots/{image_id(calls, volume)}@{snapshot}")[0] == 404
    calls.sweep(age_s=600)
    assert "shoal.snap" not in calls.service.cluster.rbd("image-meta", "ls", f"other/vdi-{volume}")
    calls.delete(volume)


def test_a_header_lost_in_the_trash_does_not_stop_it(calls: Calls, within: Inside) -> None:
    volume = new_id()
    calls.create(volume)
    lost = image_id(calls, volume)
    within.do("hold", image=f"vdi-{volume}")  # so that it cannot be purged yet
    calls.service.cluster.rbd("rename", f"other/vdi-{volume}", f"other/base-{lost}")
    calls.service.cluster.rbd("image-meta", "set", f"other/base-{lost}", "shoal.mark.removed", "1")
    within.do("let_go", image=f"vdi-{volume}")
    calls.service.cluster.rbd("trash", "mv", f"other/base-{lost}")
    within.do("remove_object", object=f"rbd_header.{lost}")
    calls.sweep()
    assert within.do("content")["trash"] == []


def test_a_child_that_never_came_to_be_holds_nobody(calls: Calls, within: Inside) -> None:
    """A clone's header is lost: the parent's list still has it, and that must not keep the parent for ever."""
    source, clone = new_id(), new_id()
    calls.create(source)
    location = calls.snapshot(source)
    calls.clone(clone, location)
    within.do("remove_object", object=f"rbd_header.{image_id(calls, clone)}")
    calls.delete(location)
    calls.delete(source)
    calls.sweep()
    calls.sweep()
    assert leftovers_of(within) == []


def test_an_image_that_somebody_has_open_is_purged_later(calls: Calls, within: Inside) -> None:
    volume = new_id()
    calls.create(volume)
    kept = image_id(calls, volume)
    calls.service.cluster.rbd("rename", f"other/vdi-{volume}", f"other/base-{kept}")
    within.do("hold", image=f"base-{kept}")
    calls.sweep()
    assert within.do("content")["trash"] == [f"base-{kept}"]
    within.do("let_go", image=f"base-{kept}")
    calls.sweep()
    assert leftovers_of(within) == []


def test_flattening_is_in_no_ones_way(calls: Calls, within: Inside) -> None:
    """The image is held and written to meanwhile; its snapshot from before goes on reading from the parent."""
    source, clone = new_id(), new_id()
    calls.create(source)
    letters = {str(block): "a" for block in range(0, 1024, 64)}
    within.do("write", image=f"vdi-{source}", blocks=letters)
    calls.clone(clone, source)
    before = calls.snapshot(clone)
    within.do("hold", image=f"vdi-{clone}")
    within.do("write_held", image=f"vdi-{clone}", blocks={0: "b", 65: "c"})
    calls.service.sweep("other", flatten=image_id(calls, clone))
    within.do("write_held", image=f"vdi-{clone}", blocks={128: "d", 129: "e"})
    within.do("let_go", image=f"vdi-{clone}")
    expected = {**letters, "0": "b", "65": "c", "128": "d", "129": "e"}
    read = within.do("read", image=f"vdi-{clone}", blocks=[int(block) for block in expected])
    assert read == expected
    assert within.do("read", blocks=[0, 64, 65], **where(calls, before)) == {"0": "a", "64": "a", "65": ""}
    # The snapshot still needs the parent; when it is gone, so is the tie.
    calls.delete(source)
    calls.sweep()
    assert within.do("read", blocks=[0, 64, 65], **where(calls, before)) == {"0": "a", "64": "a", "65": ""}
    assert within.do("content")["trash"] != []
    calls.delete(before)
    calls.sweep()
    assert within.do("content")["trash"] == []
    assert within.do("read", image=f"vdi-{clone}", blocks=[int(block) for block in expected]) == expected
    calls.delete(clone)


FLATTEN_IN_PIECES = """
from volumes import flatten, header
from volumes.pool import Pool
pool = Pool(ioctx, None, lambda _: None)
for _ in range(int(sys.argv[2])):
    image = header.read(ioctx, sys.argv[1])
    print(image.parent.overlap_bytes >> 22)
    if flatten.flatten(pool, image, 0):
        print("done")
"""


def test_flattening_goes_on_where_it_stopped(calls: Calls, within: Inside) -> None:
    """Each time only the time for one object is given, by two processes in turn, and what was copied is trimmed."""
    source, clone = new_id(), new_id()
    calls.create(source, 2048 * MIB)
    letters = {str(64 * number): "a" for number in (1, 2, 260, 500, 511)}
    within.do("write", image=f"vdi-{source}", blocks=letters)
    calls.clone(clone, source)
    before = calls.snapshot(clone)

    def go_on(pieces: int) -> list[str]:
        script = DIRECTORY + FLATTEN_IN_PIECES
        return calls.service.cluster.run("python3", "-B", "-c", script, image_id(calls, clone), str(pieces)).split()

    assert go_on(2) == ["512", "511"]
    after = calls.snapshot(clone)
    within.do("discard", image=f"vdi-{clone}", block=64 * 511, blocks=64)
    assert go_on(5) == ["500", "260", "256", "2", "1", "done"]
    assert within.do("parent", image=f"vdi-{clone}") is None
    for what, expected in ((clone, {**letters, "32704": ""}), (before, letters), (after, letters)):
        assert within.do("read", blocks=[int(block) for block in letters], **where(calls, what)) == expected
    for what in (source, clone, before, after):
        calls.delete(what)


def test_an_image_that_cannot_be_flattened_keeps_no_other_from_it(calls: Calls, within: Inside) -> None:
    chain = [new_id()]
    calls.create(chain[0], MIB)
    for _ in range(6):
        chain.append(new_id())
        calls.clone(chain[-1], chain[-2])
    odd, even = new_id(), new_id()
    for deep in (odd, even):
        calls.clone(deep, chain[-1])
    cluster = calls.service.cluster
    rados = ("rados", "-c", "/scratch/ceph.conf", "--keyring", "/scratch/admin.keyring", "-p", "other")
    features = (f"rbd_header.{image_id(calls, odd)}", "features")
    cluster.run(*rados, "getomapval", *features, "/scratch/features")
    (cluster.files / "none").write_bytes((1 << 62).to_bytes(8, "little"))  # librbd knows no such feature
    cluster.run(*rados, "setomapval", *features, "--input-file", "/scratch/none")
    calls.sweep()
    cluster.run(*rados, "setomapval", *features, "--input-file", "/scratch/features")
    assert within.do("parent", image=f"vdi-{odd}") is not None
    assert within.do("parent", image=f"vdi-{even}") is None
    for volume in (*chain, odd, even):
        calls.delete(volume)


def test_an_image_that_cannot_be_understood_stops_nothing(calls: Calls, within: Inside) -> None:
    odd, volume = new_id(), new_id()
    for made in (odd, volume):
        calls.create(made)
    cluster = calls.service.cluster
    cluster.rbd("image-meta", "set", f"other/vdi-{odd}", f"shoal.snap.{new_id()}", "{")
    cluster.rbd("snap", "create", f"other/vdi-{volume}@snap-{new_id()}")  # without an entry
    calls.sweep()
    assert within.do("content")["images"][f"vdi-{volume}"] == []
    assert f"vdi-{odd}" in within.do("content")["images"]
    cluster.rbd("rm", f"other/vdi-{odd}")
    calls.delete(volume)


def test_a_snapshot_that_a_person_has_removed_is_gone(calls: Calls) -> None:
    """Its entry alone is no snapshot."""
    volume = new_id()
    calls.create(volume)
    location = calls.snapshot(volume)
    calls.service.cluster.rbd("snap", "rm", f"other/vdi-{volume}@snap-{location.split('@')[1]}")
    assert calls.listed()["snapshots"] == []
    assert calls.delete(location) is False
    ok(calls.ask("GET", f"volumes/{volume}"))
    calls.delete(volume)
