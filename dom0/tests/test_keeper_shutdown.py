"""A host goes down without `shoal host`: its VMs, Shoal's SRs and its storage VM end in that order, in bounded time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.keeper_pool import PYTHON, KeeperPool

LAUNCH = Path(__file__).with_name("launch_shutdown.py")


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with KeeperPool(tmp_path, host_count=3) as made:
        yield made


def shut_down(pool: KeeperPool, host: str, *, systemd_says: str = "stopping") -> list[str]:
    """What it said. systemctl is an executable that answers as systemd does."""
    folder = pool.hosts[host].folder
    systemctl = folder / "bin" / "systemctl"
    systemctl.parent.mkdir(exist_ok=True)
    systemctl.write_text(f"#!/bin/sh\necho {systemd_says}\nexit 1\n")
    systemctl.chmod(0o755)
    argv = [PYTHON, "-ISB", str(LAUNCH), str(folder)]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def storage_vm(pool: KeeperPool, host: str) -> str:
    return str(pool.api.VM.get_by_uuid(pool.storage_vms[host]))


def test_all_of_the_host_ends_in_order(pool: KeeperPool) -> None:
    vm = pool.make_vm("web")
    pool.api.VM.start_on(vm, pool.refs["xen2"], False, False)
    assert shut_down(pool, "xen2") == [
        "<6>shutdown: the VM web is shut down",
        "<6>shutdown: SR shoal is unplugged",
        "<6>shutdown: the storage VM shoal-storage-xen2 is shut down",
    ]
    assert pool.plugged() == ["xen1", "xen3"]
    assert pool.running(storage_vm(pool, "xen1"), storage_vm(pool, "xen3"))
    assert not pool.running(vm) and not pool.running(storage_vm(pool, "xen2"))
    assert shut_down(pool, "xen2") == ["<6>shutdown: nothing is left to do"]


def test_its_osds_stay_in_the_cluster_until_it_is_back(pool: KeeperPool) -> None:
    host, machine, noout = pool.hosts["xen2"], "shoal-storage-xen2", pool.services.ceph.noout
    host.start()
    pool.wait((host.folder / "var/failover.json").exists, "xen2 to know of itself")
    host.kill()
    unplugged, held, ended = shut_down(pool, "xen2")
    assert held == f"<6>shutdown: noout is set for {machine}" and noout == {machine: 1800}
    assert "unplugged" in unplugged and "shut down" in ended
    host.start()
    pool.wait(lambda: noout == {} and pool.running(storage_vm(pool, "xen2")), "noout to be taken back")
    pool.wait_said("xen2", f"takes noout back for {machine}")


def test_a_host_that_is_told_to_rest_does_not_take_noout_back(pool: KeeperPool) -> None:
    host, machine, noout = pool.hosts["xen2"], "shoal-storage-xen2", pool.services.ceph.noout
    noout[machine] = 1800
    pool.api.host.add_to_other_config(pool.refs["xen2"], "shoal:maintenance", "a test")
    host.start()
    pool.wait((host.folder / "var/failover.json").exists, "xen2 to know of itself")
    time.sleep(1.5)
    assert noout == {machine: 1800}
    pool.api.host.remove_from_other_config(pool.refs["xen2"], "shoal:maintenance")
    pool.wait(lambda: noout == {}, "noout to be taken back")


def test_a_keeper_that_is_only_stopped_leaves_all_as_it_is(pool: KeeperPool) -> None:
    assert shut_down(pool, "xen2", systemd_says="running") == []
    assert pool.plugged() == ["xen1", "xen2", "xen3"] and pool.running(storage_vm(pool, "xen2"))


def test_what_does_not_end_stops_nothing_that_comes_after(pool: KeeperPool) -> None:
    vm = pool.make_vm("web", blocked_operations={"clean_shutdown": "busy"})
    pool.api.VM.start_on(vm, pool.refs["xen2"], False, False)
    first, second, third = shut_down(pool, "xen2")
    assert first.startswith("<6>shutdown: the VM web is NOT shut down: OPERATION_BLOCKED")
    assert second.startswith("<6>shutdown: SR shoal is NOT unplugged: VDI_IN_USE")
    assert third == "<6>shutdown: the storage VM shoal-storage-xen2 is shut down"


def test_a_toolstack_that_is_away_for_a_moment_ends_no_more_than_what_it_was_asked_then(pool: KeeperPool) -> None:
    vm = pool.make_vm("web")
    pool.api.VM.start_on(vm, pool.refs["xen2"], False, False)
    pool.hosts["xen2"].socket.deaf_to = [b"task.get_record", b"Async.PBD.unplug"]
    first, second, third = shut_down(pool, "xen2")
    assert first == "<6>shutdown: the VM web is shut down"
    assert second.startswith("<6>shutdown: SR shoal is NOT unplugged: xapi did not answer Async.PBD.unplug")
    assert third == "<6>shutdown: the storage VM shoal-storage-xen2 is shut down"
    assert not pool.running(storage_vm(pool, "xen2"))


def test_a_toolstack_that_stays_away_is_asked_for_each_thing_and_waited_for_a_short_while(pool: KeeperPool) -> None:
    pool.hosts["xen2"].socket.deaf_to = [b"task.get_record"] * 1000
    first, second = shut_down(pool, "xen2")
    assert first.startswith("<6>shutdown: SR shoal is NOT unplugged: xapi did not answer task.get_record")
    assert second.startswith("<6>shutdown: the storage VM shoal-storage-xen2 is NOT shut down: xapi did not answer")
    assert not pool.running(storage_vm(pool, "xen2")), "it was asked for all the same"


def test_a_toolstack_that_is_silent_holds_up_nothing_for_long(pool: KeeperPool) -> None:
    pool.hosts["xen2"].socket.hangs = True
    began = time.monotonic()
    (said,) = shut_down(pool, "xen2")
    assert said.startswith("<6>shutdown: cannot leave in order: xapi did not answer")
    assert time.monotonic() - began < 20
