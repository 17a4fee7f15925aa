"""Keepers as processes on a host that comes back before it knows what was done in its absence."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.keeper_pool import KeeperPool
from dom0.tests.test_keeper_failover_acts import ADDRESS, CLIENT, calm, db, place, run_in_xen, start_guest

DOUBT_S = 2.0  # as launch_keeper has it


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with KeeperPool(tmp_path, host_count=3) as made:
        for name, address in ADDRESS.items():
            db(made).set("host", made.refs[name], address=address)
        made.start_keepers()
        yield made


def uuid(pool: KeeperPool, name: str) -> str:
    return str(pool.api.host.get_uuid(pool.refs[name]))


def stand_still(pool: KeeperPool, name: str, seconds: float) -> None:
    process = pool.hosts[name].process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    process.send_signal(signal.SIGCONT)


def test_a_vm_that_its_own_host_is_shut_out_from_is_stopped_and_started_anew(pool: KeeperPool) -> None:
    """Taken for dead, fenced, and back before its keeper knew that it was away: it was paused for as long."""
    vm = start_guest(pool)
    pool.api.VM.remove_from_other_config(vm, "shoal:restart")
    run_in_xen(pool, pool.hosts["xen2"], vm)
    calm(pool)
    time.sleep(DOUBT_S)
    pool.services.ceph.fenced.append(CLIENT)
    stand_still(pool, "xen2", 2.0)
    domains = pool.hosts["xen2"].folder / "domains"
    pool.wait(lambda: "guest" not in domains.read_text(), "the VM to be stopped", timeout_s=20)
    assert "other" in domains.read_text()
    pool.api.VM.hard_shutdown(vm)  # as the toolstack notices
    pool.services.ceph.owners.clear()
    pool.wait(lambda: pool.running(vm), "the VM to run again", timeout_s=20)


def test_a_master_that_stood_still_while_another_took_its_place_steps_back(pool: KeeperPool) -> None:
    calm(pool)
    time.sleep(DOUBT_S)
    with pool.services.ceph._guard:
        pool.services.ceph._locks["successor-of-" + uuid(pool, "xen1")] = (uuid(pool, "xen2"), time.monotonic() + 60)
    time.sleep(1)
    assert not pool.hosts["xen1"].host.restarts.is_set(), "it asks when it has a reason to"
    stand_still(pool, "xen1", 2.0)
    pool.wait(pool.hosts["xen1"].host.restarts.is_set, "the toolstack to be restarted", timeout_s=20)


def test_a_claim_of_a_host_that_is_being_serviced_is_another_keepers(pool: KeeperPool) -> None:
    vm = start_guest(pool)
    pool.api.VM.hard_shutdown(vm)
    pool.services.ceph.owners.clear()
    calm(pool)
    pool.api.host.add_to_other_config(pool.refs["xen2"], "shoal:maintenance", "a test")
    pool.api.VM.add_to_other_config(vm, "shoal:claim", uuid(pool, "xen2"))
    for name in ("xen1", "xen3"):
        stand_still(pool, name, 2.0)  # they look anew
    pool.wait(lambda: pool.running(vm) and place(pool, vm) != pool.refs["xen2"], "the VM to run", timeout_s=20)
    pool.wait(lambda: "shoal:claim" not in pool.api.VM.get_other_config(vm), "the claim to go", timeout_s=20)
