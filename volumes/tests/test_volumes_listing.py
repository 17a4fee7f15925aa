"""What a list says while the pool changes under it: xapi forgets a disk that a scan does not find."""

from __future__ import annotations

import json

import pytest

from tests.ceph.service import Service
from volumes.tests.calls import MIB, Calls, new_id, ok, refusal

pytestmark = pytest.mark.ceph

LIST_WHILE_RESET = """
import json, sys
sys.path.insert(0, "/repository")
from pathlib import Path
from volumes import config, directory, listing, purge, revert
from volumes.ceph import Ceph
from volumes.pool import Pool

folder, volume = sys.argv[1:]
read_names = directory.read_names

def then_reset(ioctx):
    names = read_names(ioctx)
    directory.read_names = read_names
    gone = revert.images.get(pool, volume).image_id
    revert.reset(pool, volume)
    while revert.header.read(ioctx, gone):
        purge.sweep(pool, set(), whole=False)
    return names

def work(ioctx):
    global pool
    pool = Pool(ioctx, ceph, lambda _: None)
    return listing.read_all(pool, 20)

ceph = Ceph(config.load(Path(folder) / "config.json"))
directory.read_names = then_reset
print(json.dumps(ceph.with_pool("other", "", work, "list")))
"""


def test_a_disk_that_is_reset_meanwhile_is_in_the_list(calls: Calls) -> None:
    """Its VM starts on another host than the one that scans. The old image is cleared away at once."""
    volume = new_id()
    calls.create(volume, MIB, metadata={"name_label": "kiosk"})
    for _ in range(2):  # the first makes the point to come back to, the second's old image has it
        ok(calls.ask("POST", f"volumes/{volume}/reset"))
    cluster = calls.service.cluster
    said = cluster.run("python3", "-B", "-c", LIST_WHILE_RESET, f"/scratch/{calls.service.inside.name}", volume)
    assert json.loads(said) == calls.listed()
    assert [(each["id"], each["metadata"]["name_label"]) for each in calls.listed()["volumes"]] == [(volume, "kiosk")]
    calls.delete(volume)


def test_a_short_list_lacks_long_texts_and_says_so(calls: Calls) -> None:
    volume = new_id()
    calls.create(volume, MIB, metadata={"name_label": "\U0001f4be" * 2000, "type": "user"})
    location = calls.snapshot(volume, name_label="brief", name_description="x" * 199)
    short = ok(calls.ask("GET", "volumes?short=true"))
    assert short["volumes"] == [{"id": volume, "size_bytes": MIB, "metadata": {"type": "user"}, "shortened": True}]
    assert [(each["location"], each["metadata"], each["shortened"]) for each in short["snapshots"]] == [
        (location, {"name_label": "brief"}, True)
    ]
    ok(calls.ask("PATCH", f"volumes/{volume}/metadata", {"name_label": "b" * 198}))
    ok(calls.ask("PATCH", f"snapshots/{location}/metadata", {"name_description": None}))
    assert ok(calls.ask("GET", "volumes?short=true")) == calls.listed()
    for what in (location, volume):
        calls.delete(what)


def test_a_pool_that_is_gone_is_no_empty_pool(service: Service) -> None:
    """Nor is another pool that has got its name the one that it was."""
    calls, cluster = Calls(service, "passing"), service.cluster
    cluster.make_pool("passing")
    volume = new_id()
    calls.create(volume, MIB)
    assert len(calls.listed()["volumes"]) == 1
    cluster.ceph("osd", "pool", "rename", "passing", "past")
    cluster.wait_for(lambda: refused_as_gone(calls), 20, "the OSDs to know of the new name")
    assert refusal(calls.ask("DELETE", f"volumes/{volume}")) == (404, "not_found")
    cluster.make_pool("passing")
    assert calls.listed()["volumes"] == []
    calls.create(volume, 2 * MIB)
    cluster.rbd("info", f"passing/vdi-{volume}")
    for name in ("past", "passing"):
        cluster.ceph("osd", "pool", "delete", name, name, "--yes-i-really-really-mean-it")
    cluster.wait_for(lambda: refused_as_gone(calls), 20, "the pool to be gone")


def refused_as_gone(calls: Calls) -> bool:
    """Before that it lists what is there. Never nothing."""
    status, answer = calls.ask("GET", "volumes")
    assert status in (403, 404) or len(answer["volumes"]) == 1  # 403: that pool is not ours
    return status == 404
