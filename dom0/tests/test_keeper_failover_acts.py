"""Keepers as processes on a pool of three, one of which dies or is cut off: what they do to Ceph, to the pool, to Xen.

The toolstack is the stand-in, Ceph is on paper (`failover_ceph`): that each call does in a real one what it says, the
tests of the volume service show.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dom0.shoal_keeper import observe
from dom0.shoal_keeper.observe import REST_MARK
from dom0.tests.keeper_pool import KeeperHost, KeeperPool
from shoal.plan.host_marks import LEAVING, MAINTENANCE_MARK
from tests.contract.pools import NULL, log_in, vbd_record, vdi_record

# As the toolstack has them.
ADDRESS = {"xen1": "127.0.0.1", "xen2": "127.0.0.2", "xen3": "127.0.0.3"}
CLIENT = "127.0.0.2:0/77"  # xen2's
XL = """#!/bin/sh
# The domains of this host are the lines of a file: uuid, id, name.
if [ "$1" = vm-list ]; then echo "UUID ID name"; cat {folder}/domains; else sed -i "/ $2 /d" {folder}/domains; fi
"""
XENSTORE = """#!/bin/sh
cat {folder}/xenstore
"""


@contextlib.contextmanager
def watched_pool(folder: Path) -> Iterator[KeeperPool]:
    """Three hosts, each with an address of its own, and their keepers."""
    with KeeperPool(folder, host_count=3) as made:
        made.start_keepers()
        yield made


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with watched_pool(tmp_path) as made:
        yield made


def db(pool: KeeperPool) -> Any:
    return pool.toolstack.master.toolstack.db


def start_guest(pool: KeeperPool, *, place: str = "xen2", client: str = CLIENT, name: str = "guest") -> str:
    """A marked VM that runs there, and whose disk that host's kernel holds."""
    vm = pool.make_vm(name, marked=False, other_config={"shoal:restart": "true"})
    pool.api.VM.start_on(vm, pool.refs[place], False, False)
    pool.services.ceph.owners.add((image(pool, vm), client))
    return vm


def image(pool: KeeperPool, vm: str) -> str:
    (vbd,) = pool.api.VM.get_VBDs(vm)
    return f"vdi-{pool.api.VDI.get_location(pool.api.VBD.get_VDI(vbd))}"


def calm(pool: KeeperPool) -> None:
    """All have looked whether an earlier run has left something, and found that nothing is."""
    pool.wait(lambda: all((host.folder / "var/failover.json").exists() for host in pool.hosts.values()), "rosters")
    time.sleep(0.5)


def crash(pool: KeeperPool, name: str) -> None:
    host = pool.hosts[name]
    host.kill()
    host.host.stop()
    host.host.guests.plans.clear()
    silence(pool, name)


def come_back(pool: KeeperPool, name: str) -> None:
    for host in pool.hosts.values():
        (host.folder / "silent").write_text("")
    pool.hosts[name].boot()
    pool.hosts[name].host.start()
    pool.hosts[name].start()


def run_in_xen(pool: KeeperPool, host: KeeperHost, vm: str) -> None:
    """What Xen's tools and the kernel say there: this VM runs, and one with a disk that is not Ceph's."""
    uuid, volume = pool.api.VM.get_uuid(vm), image(pool, vm).removeprefix("vdi-")
    (host.folder / "domains").write_text(f"{uuid} 7 guest\nlocal-vm 8 other\n")
    (host.folder / "rbd/0").mkdir(parents=True)
    (host.folder / "rbd/0/name").write_text(f"vdi-{volume}\n")
    store = '/local/domain/0/backend/vbd/{}/51712/params = "/dev/sm/backend/sr/{}"   (n0,r{})\n'
    (host.folder / "xenstore").write_text(store.format(7, volume, 7) + store.format(8, pool.storage_vms["xen2"], 8))
    for name, text in (("xl", XL), ("xenstore-ls", XENSTORE)):
        file = host.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.format(folder=host.folder))
        file.chmod(0o755)


def silence(pool: KeeperPool, name: str) -> None:
    for host in pool.hosts.values():
        with (host.folder / "silent").open("a") as file:
            file.write(ADDRESS[name] + "\n")


def place(pool: KeeperPool, vm: str) -> str:
    return str(pool.api.VM.get_resident_on(vm))


def test_a_dead_hosts_vm_is_started_elsewhere_once_its_client_is_fenced(pool: KeeperPool) -> None:
    vm, other = start_guest(pool), pool.make_vm("unmarked", marked=False)
    pool.api.VM.start_on(other, pool.refs["xen2"], False, False)
    mixed = start_guest(pool, client="127.0.0.2:0/78", name="mixed")
    local = pool.api.VDI.create(vdi_record(pool.local_sr("xen2")))
    pool.api.VBD.create(vbd_record(mixed, local, userdevice="1"))
    calm(pool)
    at_fence: list[tuple[str, str]] = []
    row = lambda: (db(pool).get("VM", vm, "power_state"), db(pool).get("VM", vm, "resident_on"))  # noqa: E731
    pool.services.ceph.at_fence = lambda: at_fence.append(row())
    crash(pool, "xen2")
    began = time.monotonic()
    elsewhere = {pool.refs["xen1"], pool.refs["xen3"]}
    pool.wait(lambda: pool.running(vm) and place(pool, vm) in elsewhere, "the VM to run elsewhere", timeout_s=60)
    print(f"{time.monotonic() - began:.1f} s after the crash")
    assert at_fence == [("Running", pool.refs["xen2"])] and sorted(pool.services.ceph.fenced) == [CLIENT, "127.0.0.2:0/78"]
    pool.wait(lambda: "shoal:claim" not in pool.api.VM.get_other_config(vm), "the claim to go")
    runs_on = [n for n, h in pool.hosts.items() if pool.api.VM.get_uuid(vm) in h.host.guests.plans]
    assert len(runs_on) == 1
    assert pool.running(other) and place(pool, other) == pool.refs["xen2"], "an unmarked VM is touched"
    assert pool.running(mixed) and place(pool, mixed) == pool.refs["xen2"], "one that nothing keeps from writing is"
    pool.wait(lambda: pool.messages() == ["SHOAL_HOST_DEAD", "SHOAL_VMS_NOT_FENCED"], "people to be told, once")
    story = pool.bodies()["SHOAL_HOST_DEAD"]
    name = pool.api.host.get_name_label(place(pool, vm))
    assert f"Started elsewhere: guest on {name}." in story
    assert "Not restarted: mixed (its disk on SR Local storage cannot be fenced), unmarked (not marked" in story
    assert "mixed" in pool.bodies()["SHOAL_VMS_NOT_FENCED"] and "unmarked" not in pool.bodies()["SHOAL_VMS_NOT_FENCED"]
    for other_keeper in (pool.hosts["xen1"], pool.hosts["xen3"]):
        other_keeper.kill()
        other_keeper.start()
    time.sleep(1.5)
    assert len(pool.messages()) == 2
    come_back(pool, "xen2")
    pool.wait(lambda: pool.messages() == [], "the messages to be taken back by the host itself")


def test_a_host_that_answers_is_not_dead_whatever_its_storage_vm_does(pool: KeeperPool) -> None:
    vm = start_guest(pool)
    calm(pool)
    pool.api.host.add_to_other_config(pool.refs["xen2"], "shoal:maintenance", "a test: its keeper shall rest")
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen2")
    time.sleep(1)
    pool.api.VM.hard_shutdown(storage_vm)
    time.sleep(1.2)
    assert pool.services.ceph.fenced == [] and place(pool, vm) == pool.refs["xen2"]
    silence(pool, "xen2")
    time.sleep(1.2)
    assert pool.services.ceph.fenced == [], "a host that is being serviced was taken for dead"
    pool.api.host.remove_from_other_config(pool.refs["xen2"], "shoal:maintenance")
    pool.hosts["xen2"].kill()
    pool.wait(lambda: pool.services.ceph.fenced == [CLIENT], "the fence, with no mark")


def test_a_host_that_dies_while_its_vms_move_away_is_dead(pool: KeeperPool) -> None:
    """`shoal host maintenance enter` may have been killed, hours ago: who has not left yet is started elsewhere."""
    assert (MAINTENANCE_MARK, LEAVING) == (REST_MARK, observe.LEAVING)
    vm = start_guest(pool)
    calm(pool)
    mark = f"{LEAVING}2026-11-26 18:00:00 UTC"
    for leaving in ("xen2", "xen3"):  # no VM is started on one that is about to be left
        pool.api.host.add_to_other_config(pool.refs[leaving], MAINTENANCE_MARK, mark)
    crash(pool, "xen2")
    pool.wait(lambda: pool.running(vm) and place(pool, vm) == pool.refs["xen1"], "the VM to run on the host that stays")
    assert pool.services.ceph.fenced == [CLIENT]


def test_a_keeper_that_was_killed_goes_on_with_its_claim(pool: KeeperPool) -> None:
    vm = start_guest(pool)
    calm(pool)
    pool.hosts["xen3"].kill()
    pool.api.VM.add_to_other_config(vm, "shoal:claim", pool.api.host.get_uuid(pool.refs["xen3"]))
    crash(pool, "xen2")
    pool.wait(lambda: pool.services.ceph.fenced == [CLIENT], "xen1 to fence")
    time.sleep(1)
    assert place(pool, vm) == pool.refs["xen2"], "a claim of a living host is another keeper's"
    pool.hosts["xen3"].start()
    pool.wait(lambda: pool.running(vm) and place(pool, vm) != pool.refs["xen2"], "the VM to run elsewhere")


def test_a_host_that_is_cut_off_stops_its_vms_and_one_that_only_lacks_ceph_does_not(pool: KeeperPool) -> None:
    host, vm = pool.hosts["xen2"], start_guest(pool)
    run_in_xen(pool, host, vm)
    authority = (host.folder / "volumes/ca.pem").read_text()
    calm(pool)
    (host.folder / "volumes/ca.pem").write_text("")  # no service is believed from now on
    host.socket.hangs = True
    time.sleep(2)
    assert "guest" in (host.folder / "domains").read_text(), "stopped, though the other hosts answer"
    (host.folder / "silent").write_text("\n".join(ADDRESS.values()))
    pool.wait(lambda: "guest" not in (host.folder / "domains").read_text(), "the VM to be stopped")
    assert "other" in (host.folder / "domains").read_text()
    assert pool.api.VM.get_resident_on(vm) != NULL
    # Nobody was there to start it elsewhere: it is started once the pool is in sight.
    pool.api.VM.hard_shutdown(vm)
    pool.services.ceph.owners.clear()
    (host.folder / "volumes/ca.pem").write_text(authority)
    (host.folder / "silent").write_text("")
    host.socket.hangs = False
    pool.wait(lambda: pool.running(vm), "the VM to run again", timeout_s=60)
    pool.wait(lambda: "shoal:claim" not in pool.api.VM.get_other_config(vm), "the claim to go")


def test_a_host_that_has_booted_fences_what_it_was_before_and_nothing_that_it_is(pool: KeeperPool) -> None:
    """A client of its kernel, one of its own from before, one of another host, and one of a person's image."""
    host, owners = pool.hosts["xen2"], pool.services.ceph.owners
    host.kill()
    (host.folder / "clients").write_text("77 4711\n")
    past = "127.0.0.2:0/76"
    owners |= {("vdi-a", CLIENT), ("vdi-b", past), ("vdi-c", "127.0.0.3:0/5"), ("a-persons", "127.0.0.2:0/75")}
    host.start()
    pool.wait_said("xen2", f"failover: fenced {past}: this host, before its boot")
    owners.add(("vdi-d", "127.0.0.2:0/78"))  # later on a client that is not known is another thing
    time.sleep(1)
    assert pool.services.ceph.fenced == [past]


def test_a_vm_that_runs_here_while_the_pool_has_it_elsewhere_is_stopped(pool: KeeperPool) -> None:
    host, vm = pool.hosts["xen2"], start_guest(pool, place="xen3", client="127.0.0.3:0/9")
    run_in_xen(pool, host, vm)
    host.kill()
    host.start()
    pool.wait(lambda: "guest" not in (host.folder / "domains").read_text(), "the stray to be stopped")
    assert pool.running(vm) and place(pool, vm) == pool.refs["xen3"]
    assert "other" in (host.folder / "domains").read_text()


def test_a_master_that_was_cut_off_starts_its_toolstack_anew(pool: KeeperPool) -> None:
    host = pool.hosts["xen1"]
    authority = (host.folder / "volumes/ca.pem").read_text()
    calm(pool)
    (host.folder / "silent").write_text("\n".join(ADDRESS.values()))
    (host.folder / "volumes/ca.pem").write_text("")
    pool.wait_said("xen1", "failover: this host is cut off from the others")
    time.sleep(1.5)
    assert not host.host.restarts.is_set()
    (host.folder / "volumes/ca.pem").write_text(authority)
    pool.wait(host.host.restarts.is_set, "the toolstack to be restarted")


def test_a_dead_masters_vm_is_started_by_a_pool_with_another_master(pool: KeeperPool) -> None:
    vm = start_guest(pool, place="xen1", client="127.0.0.1:0/5")
    calm(pool)
    uuid = {name: pool.api.host.get_uuid(ref) for name, ref in pool.refs.items()}
    heir = min(("xen2", "xen3"), key=uuid.__getitem__)
    other = "xen3" if heir == "xen2" else "xen2"
    crash(pool, "xen1")
    for name in (heir, other):  # each restarts when it is told to, as the lab's process does by itself
        host = pool.hosts[name].host
        pool.wait(host.restarts.is_set, f"{name} to be told", timeout_s=60)
        host.stop()
        host.start()
    pool.api = log_in(pool.toolstack)
    assert pool.api.pool.get_master(pool.ref) == pool.refs[heir]
    pool.wait(lambda: pool.running(vm) and place(pool, vm) != pool.refs["xen1"], "the VM to run elsewhere")
    assert pool.services.ceph.fenced == ["127.0.0.1:0/5"]
    pool.hosts["xen1"].host.start()
    assert pool.toolstack.settings("xen1").master == heir, "it takes itself for the master still"
    assert pool.api.pool.get_master(pool.ref) == pool.refs[heir]


def test_a_master_that_is_being_serviced_is_not_succeeded(pool: KeeperPool) -> None:
    calm(pool)
    pool.api.host.add_to_other_config(pool.refs["xen1"], "shoal:maintenance", "a test: it is about to reboot")
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    time.sleep(1)
    pool.api.VM.hard_shutdown(storage_vm)
    others = [pool.hosts[name] for name in ("xen2", "xen3")]
    known = '"shoal-storage-xen1", true'
    pool.wait(lambda: all(known in (host.folder / "var/failover.json").read_text() for host in others), "the mark")
    crash(pool, "xen1")
    time.sleep(3)
    assert not any(host.host.restarts.is_set() for host in others) and pool.services.ceph.fenced == []


def test_a_host_that_follows_a_new_master_already_does_not_become_another(pool: KeeperPool) -> None:
    calm(pool)
    uuid = {name: pool.api.host.get_uuid(ref) for name, ref in pool.refs.items()}
    heir, other = sorted(("xen2", "xen3"), key=uuid.__getitem__)
    role = pool.hosts[heir].folder / "pool.conf"
    role.write_text(f"slave:{ADDRESS[other]}\n")
    crash(pool, "xen1")
    time.sleep(3)
    assert not pool.hosts[heir].host.restarts.is_set()
    role.write_text(f"slave:{ADDRESS['xen1']}\n")
    pool.wait(pool.hosts[heir].host.restarts.is_set, "the heir's turn", timeout_s=60)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[KeeperPool]:
    """A pool whose Ceph is not on its hosts: they have neither storage VM, nor monitor, nor OSD."""
    with KeeperPool(tmp_path, host_count=3) as made:
        made.api.pool.remove_from_other_config(made.ref, "shoal:ssh-key")
        for name in ADDRESS:
            made.api.host.add_to_other_config(made.refs[name], "shoal:kit", "digest")
            (vm,) = made.api.VM.get_by_name_label(f"shoal-storage-{name}")
            made.api.VM.remove_from_other_config(vm, "shoal:host")
        made.start_keepers()
        yield made


def test_where_ceph_is_elsewhere_a_dead_hosts_vm_is_started_and_one_that_shows_itself_there_is_not_dead(
    elsewhere: KeeperPool,
) -> None:
    pool, vm = elsewhere, start_guest(elsewhere)
    calm(pool)
    toolstack = pool.hosts["xen2"].socket
    toolstack.hangs = True  # its keeper waits for that in its rounds
    silence(pool, "xen2")
    pool.wait_said("xen1", "failover: misses xen2")
    time.sleep(4)
    assert pool.services.ceph.fenced == [], "its keeper shows itself in Ceph"
    toolstack.hangs = False
    crash(pool, "xen2")
    pool.wait(lambda: pool.running(vm) and place(pool, vm) != pool.refs["xen2"], "the VM to run elsewhere", timeout_s=60)
    assert pool.services.ceph.fenced == [CLIENT]
    pool.wait(lambda: pool.messages() == ["SHOAL_HOST_DEAD"], "people to be told")


def test_where_ceph_is_elsewhere_a_dead_master_is_succeeded(elsewhere: KeeperPool) -> None:
    pool = elsewhere
    calm(pool)
    heir = min(("xen2", "xen3"), key=lambda name: pool.api.host.get_uuid(pool.refs[name]))
    crash(pool, "xen1")
    pool.wait(pool.hosts[heir].host.restarts.is_set, "the heir to be told", timeout_s=60)
