"""Keepers as processes on a host that comes back before it knows what was done in its absence."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.shoal_keeper import services
from dom0.shoal_keeper.failover_ceph import Services
from dom0.tests.keeper_pool import KeeperPool
from dom0.tests.test_keeper_failover_acts import CLIENT, calm, image, run_in_xen, start_guest, watched_pool

DOUBT_S = 1.5  # as launch_keeper has it


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with watched_pool(tmp_path) as made:
        yield made


def uuid(pool: KeeperPool, name: str) -> str:
    return str(pool.api.host.get_uuid(pool.refs[name]))


def stand_still(pool: KeeperPool, *names: str) -> None:
    processes = [pool.hosts[name].process for name in names]
    for process in processes:
        assert process is not None
        process.send_signal(signal.SIGSTOP)
    time.sleep(1.5)
    for process in processes:
        assert process is not None
        process.send_signal(signal.SIGCONT)


def test_hosts_that_stood_still_find_out_what_was_done_meanwhile(
    pool: KeeperPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """xen2 was taken for dead and fenced, and xen1 was succeeded as the master. xen3 has a claim, and is being serviced."""
    guest, claimed = start_guest(pool), start_guest(pool, name="claimed")
    pool.api.VM.hard_shutdown(claimed)
    pool.services.ceph.owners.discard((image(pool, claimed), CLIENT))
    pool.api.VM.remove_from_other_config(guest, "shoal:restart")
    run_in_xen(pool, pool.hosts["xen2"], guest)
    calm(pool)
    time.sleep(DOUBT_S)
    pool.services.ceph.fenced.append(CLIENT)
    pool.services.ceph.lock("successor-of-" + uuid(pool, "xen1"), uuid(pool, "xen2"), 60)
    pool.api.host.add_to_other_config(pool.refs["xen3"], "shoal:maintenance", "a test")
    pool.api.VM.add_to_other_config(claimed, "shoal:claim", uuid(pool, "xen3"))
    time.sleep(0.5)
    assert not pool.hosts["xen1"].host.restarts.is_set(), "it asks when it has a reason to"
    stand_still(pool, "xen1", "xen2")
    pool.wait(pool.hosts["xen1"].host.restarts.is_set, "the toolstack to be restarted", timeout_s=20)
    domains = pool.hosts["xen2"].folder / "domains"
    pool.wait(lambda: "guest" not in domains.read_text(), "the VM with no disk to be stopped", timeout_s=20)
    assert "other" in domains.read_text()
    pool.api.VM.hard_shutdown(guest)  # as the toolstack notices
    pool.services.ceph.owners.clear()
    pool.wait(lambda: pool.running(guest, claimed), "both VMs to run", timeout_s=20)
    left = lambda: [vm for vm in (guest, claimed) if "shoal:claim" in pool.api.VM.get_other_config(vm)]  # noqa: E731
    pool.wait(lambda: not left(), "the claims to go", timeout_s=20)
    monkeypatch.setattr(services, "FOLDER", f"{pool.services.client_files}/")
    ceph, lock, place = Services(), "successor-of-" + uuid(pool, "xen1"), ("rbd", "")
    ceph.use((pool.services.endpoint,))
    ceph.release_lock(place, lock, uuid(pool, "xen1"))
    assert ceph.lock_owner(place, lock) == uuid(pool, "xen2"), "it is another's"
    ceph.release_lock(place, lock, uuid(pool, "xen2"))
    assert ceph.lock_owner(place, lock) is None
