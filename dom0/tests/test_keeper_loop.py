"""The keeper as a process against a pool's toolstack: cold starts, kills, restarts, silence; what it does and says."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dom0.tests.keeper_pool import KeeperPool


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[KeeperPool]:
    with KeeperPool(tmp_path) as made:
        yield made


@pytest.fixture
def three(tmp_path: Path) -> Iterator[KeeperPool]:
    with KeeperPool(tmp_path, host_count=3) as made:
        yield made


def comes_back(pool: KeeperPool, *vms: str) -> None:
    pool.wait(lambda: pool.plugged() == list(pool.hosts) and pool.running(*vms), "SRs plugged and VMs running")


def in_order(lines: list[str], *parts: str) -> bool:
    """Whether these parts come one after the other."""
    text, place = "\n".join(lines), 0
    for part in parts:
        place = text.find(part, place) + 1
        if not place:
            return False
    return True


def test_cold_start(three: KeeperPool) -> None:
    three.install_keepers()
    first = three.make_vm("first", order="1", affinity=three.refs["xen1"])
    second = three.make_vm("second", order="2", affinity=three.refs["xen1"])
    other = three.make_vm("other", affinity=three.refs["xen3"])
    anywhere = three.make_vm("anywhere", order="3")
    unmarked = three.make_vm("unmarked", marked=False)
    elsewhere = three.make_vm("elsewhere", disk=False)
    three.power_cut()
    three.power_on()
    comes_back(three, first, second, other, anywhere)
    for name, host in three.hosts.items():
        assert three.storage_vms[name] in host.host.guests.plans
    assert three.api.VM.get_resident_on(first) == three.refs["xen1"]
    assert three.api.VM.get_resident_on(other) == three.refs["xen3"]
    assert not three.running(unmarked) and not three.running(elsewhere)
    story = (
        "start of the storage VM shoal-storage-xen1 (it is off): ",
        "plug of SR shoal (Ceph answers): ",
        "start of the VM first (it is marked to start, and its SR is plugged): ",
        "start of the VM second",
        "start of the VM anywhere",
        "nothing to do: the storage VM runs, plugged: shoal, Ceph says HEALTH_OK",
    )
    three.wait(lambda: in_order(three.hosts["xen1"].said(), *story), "xen1 to tell its story in order")


def test_what_ran_on_a_member_that_died_starts_with_it_again_unless_it_was_started_since(three: KeeperPool) -> None:
    """With no affinity, while the master goes on: nobody else owes these VMs a start."""
    three.install_keepers()
    lost, gone = three.make_vm("lost"), three.make_vm("gone")
    for vm in (lost, gone):
        three.api.VM.start_on(vm, three.refs["xen2"], False, False)
    host, uuid = three.hosts["xen2"], three.api.VM.get_uuid(gone)
    three.wait(lambda: uuid in (host.folder / "var/keeper.json").read_text(), "xen2 to know what runs there")
    host.kill()
    host.host.stop()
    host.host.guests.plans.clear()
    three.api.VM.power_state_reset(gone)
    time.sleep(1.1)  # of a start the records have the second
    three.api.VM.start_on(gone, three.refs["xen3"], False, False)
    three.api.VM.hard_shutdown(gone)
    host.boot()
    host.host.start()
    host.start()
    three.wait(lambda: "xen2" in three.plugged(), "the SR to be plugged")
    three.wait(lambda: three.running(lost) and place(three, lost) == "xen2", "the VM to run again")
    assert not three.running(gone)


def place(pool: KeeperPool, vm: str) -> str:
    return str(pool.api.host.get_name_label(pool.api.VM.get_resident_on(vm)))


def test_it_waits_for_the_others_storage_vms(three: KeeperPool) -> None:
    three.power_cut()
    three.power_on("xen1")
    three.wait_said("xen1", "nothing can be done now: waits for Ceph (127.0.0.1")
    time.sleep(1)
    said = three.hosts["xen1"].said()
    assert all(one != other for one, other in itertools.pairwise(said)), "it repeats itself"
    assert three.plugged() == []
    three.hosts["xen2"].start()
    three.wait(lambda: three.pbd("xen1")["currently_attached"], "xen1 to plug")
    three.wait(lambda: three.pbd("xen2")["currently_attached"], "xen2 to plug")


def test_a_vm_on_an_lvm_sr_starts_once_dom0s_own_unit_has_plugged_that(pool: KeeperPool, tmp_path: Path) -> None:
    """And not one on an SR of that type that is not Shoal's."""
    pool.install_keepers()
    folders = {"/dev/rbd/lvm/lvm-shoal-lvm": tmp_path / "lvm", "/dev/disk/by-id/own": tmp_path / "own"}
    srs = [pool.make_lvm_sr(device, folder) for device, folder in folders.items()]
    first, other = (pool.make_vm(f"on {sr}", sr=sr, affinity=pool.refs["xen1"]) for sr in srs)
    second = pool.make_vm("second", order="2", affinity=pool.refs["xen1"])
    (tmp_path / "lvm").rename(tmp_path / "unmapped")
    pool.power_cut()
    pool.power_on()
    pool.wait(lambda: pool.plugged() == ["xen1"], "the SR of type rbd to be plugged")
    pool.wait_said("xen1", "waits for SR /dev/rbd/lvm/lvm-shoal-lvm")
    assert not pool.running(second)
    (tmp_path / "unmapped").rename(tmp_path / "lvm")
    pool.api.PBD.plug(pool.api.SR.get_PBDs(srs[0])[0])  # as map_images.py does
    comes_back(pool, first, second)
    assert not pool.running(other)


def test_what_the_storage_vms_disks_lie_on_is_plugged_first(pool: KeeperPool) -> None:
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    pool.api.VM.hard_shutdown(storage_vm)
    pool.api.PBD.unplug(pool.api.SR.get_PBDs(pool.local_sr("xen1"))[0])
    pool.hosts["xen1"].start()
    pool.wait(lambda: pool.running(storage_vm), "the storage VM to run")
    parts = ("plug of SR Local storage (the storage VM's disks lie on it): ", "start of the storage VM")
    pool.wait(lambda: in_order(pool.hosts["xen1"].said(), *parts), "the keeper to say so")


def test_killed_at_any_moment_the_next_one_goes_on(pool: KeeperPool) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    pool.install_keepers()
    for _ in range(3):
        vm = pool.make_vm(f"vm-{chance.random()}", affinity=pool.refs["xen1"])
        pool.power_cut()
        pool.power_on()
        for _ in range(chance.randrange(1, 6)):
            time.sleep(chance.uniform(0, 0.5))
            pool.hosts["xen1"].kill()
            pool.hosts["xen1"].start()
        comes_back(pool, vm)


def test_toolstacks_that_restart_are_found_again(three: KeeperPool) -> None:
    three.install_keepers()
    vm = three.make_vm("vm", affinity=three.refs["xen2"])
    three.power_cut()
    three.power_on()
    three.restart_toolstacks()
    comes_back(three, vm)
    three.restart_toolstacks()
    three.wait(lambda: all("nothing to do" in host.said()[-1] for host in three.hosts.values()), "calm")
    assert all(host.process and host.process.poll() is None for host in three.hosts.values())


def test_a_toolstack_that_hangs_is_told_of_and_waited_for(pool: KeeperPool) -> None:
    pool.hosts["xen1"].start()
    pool.wait_said("xen1", "nothing to do")
    pool.hosts["xen1"].socket.hangs = True
    pool.wait_said("xen1", "cannot see the pool: xapi did not answer")
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    pool.api.VM.hard_shutdown(storage_vm)
    pool.hosts["xen1"].socket.hangs = False
    pool.wait(lambda: pool.running(storage_vm), "the storage VM to be started")


def test_a_keeper_that_is_ended_ends_at_once_and_logs_out(pool: KeeperPool) -> None:
    host = pool.hosts["xen1"]
    host.start()
    pool.wait_said("xen1", "nothing to do")
    assert host.process
    host.process.terminate()
    assert host.process.wait(timeout=5) == 0
    origins = [row["originator"] for row in pool.toolstack.master.toolstack.db.rows("session").values()]
    assert "shoal-keeper" not in origins


def test_monitors_are_refreshed_in_place(three: KeeperPool) -> None:
    secrets = three.api.secret.get_all_records()
    before = {name: three.pbd(name) for name in three.hosts}
    three.services.monitors = ["192.0.2.2:6789", "192.0.2.3:6789"]
    three.start_keepers()
    wanted = "192.0.2.2:6789,192.0.2.3:6789"
    three.wait(lambda: all(three.pbd(n)["device_config"]["monitors"] == wanted for n in three.hosts), "new monitors")
    for name, pbd in before.items():
        pbd["device_config"]["monitors"] = wanted
        assert three.pbd(name) == pbd
    assert three.api.secret.get_all_records() == secrets
    rows = three.toolstack.master.toolstack.db.rows
    three.wait(
        lambda: not [row for row in rows("session").values() if "_sm_session" in row["other_config"]],
        "no session to stay the driver's",
    )


def test_with_high_availability_on_it_stands_back_and_says_so_once(pool: KeeperPool) -> None:
    db = pool.toolstack.master.toolstack.db
    db.set("pool", pool.ref, ha_enabled=True)
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    pool.api.VM.hard_shutdown(storage_vm)
    pool.hosts["xen1"].start()
    pool.wait_said("xen1", "stands back: xapi's high availability is on")
    pool.wait_said("xen1", "raises SHOAL_HA_ENABLED")
    pool.hosts["xen1"].kill()
    pool.hosts["xen1"].start()
    time.sleep(1)
    assert pool.messages() == ["SHOAL_HA_ENABLED"]
    assert not pool.running(storage_vm)
    db.set("pool", pool.ref, ha_enabled=False)
    pool.wait(lambda: pool.running(storage_vm) and not pool.messages(), "the storage VM, and no message")


def test_ceph_that_stays_away_is_told_of_until_it_is_back(pool: KeeperPool) -> None:
    pool.ceph_works = False
    pool.power_cut()
    pool.power_on()
    pool.wait(lambda: pool.messages() == ["SHOAL_CEPH_AWAY"], "the message")
    pool.ceph_works = True
    comes_back(pool)
    pool.wait(lambda: pool.messages() == [], "no message")


def test_a_nearly_full_ceph_is_told_of_once_by_three_keepers(three: KeeperPool) -> None:
    three.services.checks = [{"code": "OSD_NEARFULL", "severity": "HEALTH_WARN", "message": "1 nearfull osd(s)"}]
    three.start_keepers()
    three.wait_said("xen1", "raises SHOAL_CEPH_FULL")
    for host in three.hosts.values():
        host.kill()
        host.log.write_text("")
    three.start_keepers()
    time.sleep(1.5)
    assert three.messages() == ["SHOAL_CEPH_FULL"] and "1 nearfull osd(s)" in three.bodies()["SHOAL_CEPH_FULL"]
    three.ceph_works = False
    three.wait_said("xen1", "waits for Ceph")
    assert three.messages() == ["SHOAL_CEPH_FULL"], "taken back, though nobody can tell"
    three.ceph_works, three.services.checks = True, []
    three.wait(lambda: "SHOAL_CEPH_FULL" not in three.messages(), "no message")


def test_it_goes_together_with_xapis_own_autostart(three: KeeperPool) -> None:
    three.api.pool.add_to_other_config(three.ref, "auto_poweron", "true")
    vm = three.make_vm("vm")
    three.power_cut()
    three.power_on()
    comes_back(three, vm)


def test_only_a_boot_owes_starts(pool: KeeperPool) -> None:
    """A VM that was off when the keeper was installed, and one that is shut down by hand, stay off."""
    vm = pool.make_vm("vm", affinity=pool.refs["xen1"])
    pool.hosts["xen1"].start()
    pool.wait_said("xen1", "nothing to do")
    assert not pool.running(vm)
    pool.power_cut()
    pool.power_on()
    comes_back(pool, vm)
    pool.wait(lambda: "nothing to do" in pool.hosts["xen1"].said()[-1], "calm")
    pool.api.VM.hard_shutdown(vm)
    pool.hosts["xen1"].kill()
    pool.hosts["xen1"].log.write_text("")
    pool.hosts["xen1"].start()
    pool.wait_said("xen1", "nothing to do")
    time.sleep(1)
    assert not pool.running(vm)


def test_it_stands_back_while_apply_gives_signs_of_life(pool: KeeperPool) -> None:
    pool.api.pool.add_to_other_config(pool.ref, "shoal:lock", json.dumps({"token": "t"}))
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    pool.api.VM.hard_shutdown(storage_vm)
    pool.hosts["xen1"].start()
    for number in itertools.count():
        pool.api.pool.remove_from_other_config(pool.ref, "shoal:lock-renewed")
        pool.api.pool.add_to_other_config(pool.ref, "shoal:lock-renewed", f"t {number}")
        if number == 6:
            break
        time.sleep(0.7)
        assert not pool.running(storage_vm)
    assert pool.hosts["xen1"].said() == ["<6>stands back: shoal apply is at work on this pool"]
    pool.wait(lambda: pool.running(storage_vm), "the dead apply to be seen through")


def test_it_goes_on_while_the_holder_of_the_lock_only_waits(pool: KeeperPool) -> None:
    pool.api.pool.add_to_other_config(pool.ref, "shoal:lock", json.dumps({"token": "t"}))
    (storage_vm,) = pool.api.VM.get_by_name_label("shoal-storage-xen1")
    pool.api.VM.hard_shutdown(storage_vm)
    pool.hosts["xen1"].start()
    pool.wait_said("xen1", "stands back: shoal apply is at work on this pool")
    pool.api.pool.add_to_other_config(pool.ref, "shoal:lock-waits", "keepers go on")
    for number in range(40):
        pool.api.pool.remove_from_other_config(pool.ref, "shoal:lock-renewed")
        pool.api.pool.add_to_other_config(pool.ref, "shoal:lock-renewed", f"t {number}")
        if pool.running(storage_vm):
            break
        time.sleep(0.3)
    assert pool.running(storage_vm)


def test_a_pool_that_is_not_shoals_is_left_alone(pool: KeeperPool) -> None:
    pool.api.pool.remove_from_other_config(pool.ref, "shoal:ssh-key")
    pool.power_cut()
    pool.power_on()
    pool.wait_said("xen1", "stands back: Shoal has not set up this pool")
    time.sleep(1)
    assert not pool.is_up()
    assert len(pool.hosts["xen1"].said()) == 1


def test_a_host_that_is_told_to_rest_rests(pool: KeeperPool) -> None:
    pool.api.host.add_to_other_config(pool.refs["xen1"], "shoal:maintenance", "a new fan")
    pool.power_cut()
    pool.power_on()
    pool.wait_said("xen1", "stands back: the host carries the mark shoal:maintenance")
    pool.api.host.remove_from_other_config(pool.refs["xen1"], "shoal:maintenance")
    comes_back(pool)


def test_an_sr_on_a_cluster_that_is_not_shoals_is_plugged_again(pool: KeeperPool) -> None:
    """There are no storage VMs then, and no mark on the pool; the host's own is enough."""
    pool.api.pool.remove_from_other_config(pool.ref, "shoal:ssh-key")
    pool.api.host.add_to_other_config(pool.refs["xen1"], "shoal:kit", "digest")
    pool.services.monitors = ["192.0.2.7:6789"]
    (pbd,) = pool.api.SR.get_PBDs(pool.sr)
    before = pool.api.PBD.get_device_config(pbd)
    pool.api.PBD.unplug(pbd)
    pool.hosts["xen1"].start()
    pool.wait(lambda: pool.plugged() == ["xen1"], "the SR to be plugged")
    pool.wait_said("xen1", "nothing to do: plugged: shoal, Ceph says HEALTH_OK")
    assert pool.api.PBD.get_device_config(pbd) == before
