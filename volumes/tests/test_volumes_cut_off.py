"""Hosts that Ceph has not heard for a while, against a real Ceph: dead, or cut off and about to be back with writes."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ceph.cluster import Cluster
from tests.ceph.dialog import Inside, Refused
from tests.ceph.service import Service
from volumes.tests.calls import Calls, new_id, ok, refusal

pytestmark = pytest.mark.ceph
Make = Callable[[], Inside]
REFUSED = (409, "in_use")
# A host opens the disk right after a snapshot was told to all who had it open: nobody. Then a second snapshot. Printed
# is how often the monitors were asked for each, and which of these clients are not fenced.
SNAPSHOTS_OF_A_LIVING_HOSTS_DISK = """
import json, sys, uuid
from pathlib import Path
sys.path.insert(0, "/repository")
import rados, rbd
from volumes import config, fences, holders, snapshots
from volumes.ceph import Ceph
from volumes.pool import Pool

folder, volume, *clients = sys.argv[1:]
host = rados.Rados(rados_id="admin", conffile="/scratch/ceph.conf", conf={"keyring": "/scratch/admin.keyring"})
host.connect()
told, command, asked, opened = holders.notice_change, Ceph.command, [], []

def then_open(*arguments):
    answered = told(*arguments)
    holders.notice_change = told
    opened.append(rbd.Image(host.open_ioctx("other"), f"vdi-{volume}"))
    opened[0].lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
    return answered

def noted(self, **arguments):
    asked.append(arguments["prefix"])
    return command(self, **arguments)

def work(ioctx):
    found = []
    for _ in range(2):
        asked.clear()
        snapshots.take(Pool(ioctx, ceph, lambda _: None), volume, str(uuid.uuid4()), {})
        found.append(len(asked))
    return found

holders.notice_change, Ceph.command = then_open, noted
ceph = Ceph(config.load(Path(folder) / "config.json"))
print(json.dumps([ceph.with_pool("other", "", work, "snapshots"), fences.unfenced(ceph, clients)]))
opened[0].close()
"""


@pytest.fixture
def new_host(cluster: Cluster) -> Iterator[Make]:
    """Clients of their own, which may be killed or fenced."""
    made: list[Inside] = []

    def make() -> Inside:
        made.append(Inside(cluster, "other"))
        return made[-1]

    yield make
    for host in made:
        host.kill()  # librbd that has lost a watch does not come to its end


@pytest.fixture
def volume(calls: Calls, within: Inside) -> Iterator[str]:
    made = new_id()
    calls.create(made)
    within.do("write", image=f"vdi-{made}", blocks={0: "a"})
    yield made
    calls.delete(made)
    for left in calls.listed()["snapshots"]:
        calls.delete(left["location"])


def owners_of(calls: Calls, volume: str) -> list[str]:
    return [each["address"] for each in ok(calls.ask("GET", "holders"))["holders"] if each["image"] == f"vdi-{volume}"]


def fences(calls: Calls) -> list[str]:
    return list(ok(calls.ask("GET", "fences"))["addresses"])


@pytest.mark.usefixtures("short_watches")
def test_a_host_that_was_cut_off_changes_nothing_that_was_answered_for(
    calls: Calls, within: Inside, volume: str, new_host: Make
) -> None:
    """While it watches, and does not answer, nothing is done. Later its disk still has no snapshot, since writes of its
    own may still come. To revert the disk, or to delete it, it is fenced first.
    """
    running, over = new_host(), new_host()
    reverted = new_id()
    calls.create(reverted)
    within.do("write", image=f"vdi-{reverted}", blocks={0: "b"})
    location = calls.snapshot(reverted)
    running.do("hold", image=f"vdi-{volume}")
    over.do("hold", image=f"vdi-{reverted}")
    over.do("write_held", image=f"vdi-{reverted}", blocks={0: "c"})
    for host in (running, over):
        host.stand_still()
    snapshot = ("POST", f"volumes/{volume}/snapshot", {"snapshot": new_id(), "metadata": {}})
    revert = ("POST", f"volumes/{reverted}/revert", {"snapshot": location})
    started = time.monotonic()
    for call in (("DELETE", f"volumes/{volume}", None), revert, snapshot):
        assert refusal(calls.ask(*call)) == REFUSED
    assert time.monotonic() - started < 20

    def are_gone() -> bool:
        return all(ok(calls.ask("GET", f"volumes/{each}/holders"))["watchers"] == [] for each in (volume, reverted))

    calls.service.cluster.wait_for(are_gone, 60, "Ceph to notice")
    held = ok(calls.ask("GET", f"volumes/{volume}/holders"))
    assert [lock["alive"] for lock in held["locks"]] == [False]
    (address,) = owners_of(calls, volume)
    status, answer = calls.ask(*snapshot)
    assert (status, answer["error"]["code"]) == REFUSED
    assert f"the host at {address} holds the disk" in answer["error"]["message"]
    assert volume not in [each["of"] for each in calls.listed()["snapshots"]]
    ok(calls.ask(*revert))
    assert address not in fences(calls)

    for host in (running, over):
        host.go_on()
    running.do("write_held", image=f"vdi-{volume}", blocks={0: "d"})
    with pytest.raises(Refused):
        over.do("write_held", image=f"vdi-{reverted}", blocks={0: "e"})
    calls.service.cluster.wait_for(lambda: calls.ask(*snapshot)[0] == 200, 20, "the host to be back")
    (taken,) = [each["location"] for each in calls.listed()["snapshots"] if each["of"] == volume]
    assert within.do("read", image=f"vdi-{volume}", snap=f"snap-{taken.split('@')[1]}", blocks=[0]) == {"0": "d"}
    assert within.do("read", image=f"vdi-{reverted}", blocks=[0]) == {"0": "b"}
    running.do("let_go", image=f"vdi-{volume}")
    calls.delete(reverted)


def test_a_dead_hosts_disk_has_snapshots_and_clones_once_it_is_fenced(
    calls: Calls, within: Inside, volume: str, new_host: Make
) -> None:
    dead, clone = new_host(), new_id()
    dead.do("own", image=f"vdi-{volume}")
    dead.kill()
    snapshot = ("POST", f"volumes/{volume}/snapshot", {"snapshot": new_id(), "metadata": {}})
    copy = ("PUT", f"volumes/{clone}", {"source": volume, "metadata": {}})
    for call in (snapshot, copy):
        assert refusal(calls.ask(*call)) == REFUSED
    ok(calls.ask("POST", "fences", {"addresses": owners_of(calls, volume)}))
    for call in (snapshot, copy):
        ok(calls.ask(*call))
    assert within.do("read", image=f"vdi-{clone}", blocks=[0]) == {"0": "a"}
    calls.delete(clone)


def test_a_living_host_is_in_no_snapshots_way(calls: Calls, within: Inside, volume: str) -> None:
    whole, one = "192.0.2.7", "192.0.2.8:0/3"
    for address in (whole, one):  # as a person does it
        within.do("command", arguments={"prefix": "osd blocklist", "blocklistop": "add", "addr": address})
    clients = (f"{whole}:0/5", one, "192.0.2.8:0/4")
    script = (SNAPSHOTS_OF_A_LIVING_HOSTS_DISK, f"/scratch/{calls.service.inside.name}", volume)
    said = json.loads(calls.service.cluster.run("python3", "-B", "-c", *script, *clients))
    assert said == [[1, 0], ["192.0.2.8:0/4"]]
    assert len(calls.listed()["snapshots"]) == 2


@pytest.mark.parametrize("call", ["revert", "first reset", "reset", "delete"])
def test_an_owner_that_does_not_watch_is_fenced_before_its_disk_is_changed(
    calls: Calls, within: Inside, volume: str, new_host: Make, call: str
) -> None:
    location, host = calls.snapshot(volume), new_host()
    if call == "reset":
        ok(calls.ask("PUT", f"volumes/{volume}/reset_point"))
    host.do("own", image=f"vdi-{volume}")
    addresses = owners_of(calls, volume)
    asked: dict[str, tuple[str, str, Any]] = {
        "revert": ("POST", f"volumes/{volume}/revert", {"snapshot": location}),
        "delete": ("DELETE", f"volumes/{volume}", None),
    }
    ok(calls.ask(*asked.get(call, ("POST", f"volumes/{volume}/reset", None))))
    assert set(addresses) <= set(fences(calls))
    with pytest.raises(Refused):
        host.do("write_late", image=f"vdi-{volume}", letter="b")
    if call != "delete":
        assert within.do("read", image=f"vdi-{volume}", blocks=[0]) == {"0": "a"}


@pytest.mark.parametrize("step", [1, 2], ids=["before the fence", "after it"])
def test_a_service_killed_about_the_fence_leaves_what_a_repeat_ends(
    calls: Calls, spare: Service, volume: str, new_host: Make, step: int
) -> None:
    host = new_host()
    host.do("own", image=f"vdi-{volume}")
    addresses = owners_of(calls, volume)
    spare.kill()
    spare.start(dying_at=step)
    with pytest.raises((http.client.HTTPException, OSError)):
        Calls(spare, "other").delete(volume)
    assert (addresses[0] in fences(calls)) == (step == 2)
    assert ok(calls.ask("GET", f"volumes/{volume}"))["id"] == volume
    assert calls.delete(volume)
    with pytest.raises(Refused):
        host.do("write_late", image=f"vdi-{volume}", letter="b")
