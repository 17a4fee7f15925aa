"""Snapshots, clones, reverts and copies of disks, driven by the official client."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab.xapi.loopback import LoopbackPool
from tests.contract.pools import (
    MIB,
    NULL,
    commands,
    log_in,
    make_sr,
    refused,
    requests,
    vbd_record,
    vdi_record,
    vm_record,
    wait_for_task,
)


class Disk:
    """One disk of a `small` SR, and its file."""

    def __init__(self, api: Any, pool: LoopbackPool, **more: Any) -> None:
        self.api, self.pool = api, pool
        self.sr = make_sr(api, pool)
        self.vdi = api.VDI.create(vdi_record(self.sr, **more))
        self.file = self.file_of(self.vdi)

    def file_of(self, vdi: str) -> Path:
        return self.pool.master.root / "storage" / str(self.api.VDI.get_location(vdi))

    def asked(self, command: str) -> dict[str, Any]:
        return [request for request in requests(self.pool.master) if request["command"] == command][-1]

    def does_not(self, command: str) -> None:
        """From now on the driver answers 38 to this command, whatever it has declared."""
        (self.file.parent / "answers-38").write_text(command)


@pytest.fixture
def disk(api: Any, pool: LoopbackPool) -> Disk:
    return Disk(api, pool, other_config={"a": "b"}, tags=["t"])


def test_a_snapshot_has_its_disks_record_and_content(disk: Disk) -> None:
    api = disk.api
    disk.file.write_bytes(b"before".ljust(MIB, b"\0"))
    snapshot = api.VDI.snapshot(disk.vdi, {"epochhint": "1"})
    disk.file.write_bytes(b"after")
    row, of = api.VDI.get_record(snapshot), api.VDI.get_record(disk.vdi)
    assert (row["is_a_snapshot"], row["snapshot_of"]) == (True, disk.vdi) and of["snapshots"] == [snapshot]
    assert row["location"] == f"{row['uuid']}@snap" and str(row["snapshot_time"]) > "2020"
    assert row["other_config"] == {"a": "b"} and row["tags"] == ["t"] and row["name_label"] == "disk"
    assert disk.file_of(snapshot).read_bytes().rstrip(b"\0") == b"before"
    asked = disk.asked("vdi_snapshot")
    assert asked["driver_params"] == {"epochhint": "1"} and asked["vdi_uuid"] == of["uuid"] and asked["args"] == []
    told = disk.asked("vdi_update")
    assert (told["vdi_uuid"], told["vdi_location"]) == (row["uuid"], row["location"])


def test_a_clone_is_a_disk_of_its_own(disk: Disk) -> None:
    api = disk.api
    disk.file.write_bytes(b"content")
    clone = api.VDI.clone(disk.vdi, {})
    row = api.VDI.get_record(clone)
    assert (row["is_a_snapshot"], row["snapshot_of"], row["name_label"]) == (False, NULL, "disk")
    assert disk.file_of(clone).read_bytes() == b"content"
    again = api.VDI.clone(api.VDI.snapshot(disk.vdi, {}), {})
    assert disk.file_of(again).read_bytes() == b"content"


def test_a_driver_that_does_not_clone_after_all_has_it_copied(disk: Disk) -> None:
    data = os.urandom(MIB)
    disk.file.write_bytes(data.ljust(8 * MIB, b"\0"))
    disk.does_not("vdi_clone")
    clone = disk.api.VDI.clone(disk.vdi, {})
    assert disk.file_of(clone).read_bytes() == data.ljust(8 * MIB, b"\0")
    assert disk.api.VDI.get_VBDs(clone) == []
    disk.does_not("vdi_snapshot")
    assert refused(disk.api.VDI.snapshot, disk.vdi, {}) == ["UNIMPLEMENTED_IN_SM_BACKEND", disk.sr]


def test_a_revert_keeps_the_disk(disk: Disk) -> None:
    api = disk.api
    disk.file.write_bytes(b"before")
    snapshot = api.VDI.snapshot(disk.vdi, {})
    disk.file.write_bytes(b"after")
    api.VDI.revert(snapshot)
    assert disk.file.read_bytes() == b"before"
    asked = disk.asked("vdi_revert")
    assert asked["vdi_ref"] == snapshot and asked["args"] == [disk.vdi]
    assert refused(api.VDI.revert, disk.vdi) == ["ONLY_REVERT_SNAPSHOT"]
    disk.does_not("vdi_revert")
    assert refused(api.VDI.revert, snapshot) == ["UNIMPLEMENTED_IN_SM_BACKEND", disk.sr]
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, disk.vdi))
    api.VM.start(vm, False, False)
    assert refused(api.VDI.revert, snapshot) == ["VDI_IN_USE", disk.vdi, "revert_from"]


def test_a_copy_goes_to_any_sr_with_progress(disk: Disk) -> None:
    api = disk.api
    data = b"".join((os.urandom(MIB), bytes(3 * MIB), os.urandom(100), bytes(4 * MIB - 100)))
    disk.file.write_bytes(data)
    (local,) = api.SR.get_by_name_label("Local storage")
    there = api.VDI.copy(disk.vdi, local, NULL, NULL)
    file = disk.pool.master.dir / "sr" / f"{api.VDI.get_location(there)}.img"
    assert file.read_bytes() == data and file.stat().st_blocks * 512 < 3 * MIB, "zeros were written"
    back = wait_for_task(api, api.Async.VDI.copy(there, disk.sr, NULL, NULL))
    assert disk.file_of(back["result"]).read_bytes() == data and back["progress"] == 1.0
    within = api.VDI.copy(disk.vdi, disk.sr, NULL, NULL)
    assert disk.file_of(within).read_bytes() == data
    assert api.VDI.get_other_config(within)["a"] == "b" and api.VDI.get_snapshot_of(within) == NULL
    assert [api.VDI.get_VBDs(one) for one in (disk.vdi, there, within)] == [[], [], []]
    assert commands(disk.pool.master)[-4:] == ["vdi_deactivate", "vdi_detach"] * 2


def test_a_copy_of_what_has_changed(disk: Disk) -> None:
    api = disk.api
    disk.file.write_bytes(os.urandom(2 * MIB).ljust(8 * MIB, b"\0"))
    base = api.VDI.snapshot(disk.vdi, {})
    with disk.file.open("r+b") as image:
        image.seek(5 * MIB)
        image.write(b"new")
    into = api.VDI.create(vdi_record(disk.sr))
    assert api.VDI.copy(disk.vdi, disk.sr, base, into) == into
    content = disk.file_of(into).read_bytes()
    assert content[: 5 * MIB] == bytes(5 * MIB) and content[5 * MIB : 5 * MIB + 3] == b"new"


def test_refusals_of_copies(disk: Disk) -> None:
    api = disk.api
    small = api.VDI.create(vdi_record(disk.sr, MIB))
    assert refused(api.VDI.copy, disk.vdi, NULL, NULL, small) == ["VDI_TOO_SMALL", small, str(8 * MIB)]
    read_only = api.VDI.create(vdi_record(disk.sr, read_only=True))
    assert refused(api.VDI.copy, disk.vdi, NULL, NULL, read_only) == ["VDI_READONLY", read_only]
    shared = api.VDI.create(vdi_record(disk.sr, sharable=True))
    assert refused(api.VDI.snapshot, shared, {}) == ["VDI_IS_SHARABLE", shared]
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, disk.vdi))
    api.VM.start(vm, False, False)
    assert refused(api.VDI.copy, disk.vdi, disk.sr, NULL, NULL) == ["VDI_IN_USE", disk.vdi, "copy"]
    assert api.VDI.snapshot(disk.vdi, {}) != NULL  # that works on a disk in use


def test_a_copy_that_fails_leaves_nothing(disk: Disk) -> None:
    before = set(disk.api.VDI.get_all())
    disk.does_not("vdi_attach")
    assert refused(disk.api.VDI.copy, disk.vdi, disk.sr, NULL, NULL)[0] == "UNIMPLEMENTED_IN_SM_BACKEND"
    assert set(disk.api.VDI.get_all()) == before and disk.api.VDI.get_VBDs(disk.vdi) == []


def test_growing_a_disk_in_use(disk: Disk) -> None:
    api = disk.api
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, disk.vdi))
    api.VM.start(vm, False, False)
    assert refused(api.VDI.resize, disk.vdi, str(16 * MIB)) == ["VDI_IN_USE", disk.vdi, "resize"]
    api.VDI.resize_online(disk.vdi, str(16 * MIB))
    assert api.VDI.get_virtual_size(disk.vdi) == str(16 * MIB)
    assert disk.asked("vdi_resize")["args"] == [str(16 * MIB)]


def test_a_disk_that_is_reset_when_its_vm_starts(disk: Disk) -> None:
    api = disk.api
    disk.file.write_bytes(b"clean")
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, disk.vdi))
    before = set(api.VDI.get_all())
    api.VDI.set_on_boot(disk.vdi, "reset")
    assert [one for one in commands(disk.pool.master) if one in {"vdi_clone", "vdi_delete"}] == [
        "vdi_clone",
        "vdi_delete",
    ]
    assert set(api.VDI.get_all()) == before
    api.VM.start(vm, False, False)
    assert commands(disk.pool.master)[-3:] == ["vdi_epoch_begin", "vdi_attach", "vdi_activate"]
    assert disk.asked("vdi_epoch_begin")["vdi_on_boot"] == "reset"
    assert refused(api.VDI.set_on_boot, disk.vdi, "persist") == ["VDI_IN_USE", disk.vdi, "set_on_boot"]
    disk.file.write_bytes(b"dirty")
    api.VM.clean_reboot(vm)
    assert disk.file.read_bytes() == b"clean"
    incompatible = ["VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION"]
    assert refused(api.VDI.snapshot, disk.vdi, {}) == refused(api.VDI.enable_cbt, disk.vdi) == incompatible


def test_changed_blocks(disk: Disk) -> None:
    api = disk.api
    assert refused(api.VDI.data_destroy, disk.vdi) == ["OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {disk.vdi}"]
    api.VDI.enable_cbt(disk.vdi)
    api.VDI.enable_cbt(disk.vdi)
    assert api.VDI.get_cbt_enabled(disk.vdi) is True and commands(disk.pool.master).count("vdi_enable_cbt") == 1
    first = api.VDI.snapshot(disk.vdi, {})
    with disk.file.open("r+b") as image:
        image.seek(65536)
        image.write(b"x")
    second = api.VDI.snapshot(disk.vdi, {})
    assert api.VDI.list_changed_blocks(first, second) == "QAAAAAAAAAAAAAAAAAAAAA=="  # the second of 128 bits
    asked = disk.asked("vdi_list_changed_blocks")
    assert asked["vdi_ref"] == first and asked["args"] == [second]
    assert refused(api.VDI.enable_cbt, first) == ["OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {first}"]
    api.VDI.data_destroy(first)
    assert api.VDI.get_type(first) == "cbt_metadata"
    assert refused(api.VDI.clone, first, {}) == ["VDI_INCOMPATIBLE_TYPE", first, "cbt_metadata"]
    api.VDI.disable_cbt(disk.vdi)
    assert api.VDI.get_cbt_enabled(disk.vdi) is False


def test_data_that_a_vm_may_still_want_is_not_destroyed(disk: Disk) -> None:
    api = disk.api
    api.VDI.enable_cbt(disk.vdi)
    snapshot = api.VDI.snapshot(disk.vdi, {})
    vbd = api.VBD.create(vbd_record(api.VM.create(vm_record()), snapshot))
    assert refused(api.VDI.data_destroy, snapshot) == ["VDI_IN_USE", snapshot, "data_destroy"]
    assert api.VDI.get_type(snapshot) == "user"
    api.VBD.destroy(vbd)
    api.VDI.data_destroy(snapshot)


def test_an_sr_that_was_forgotten_comes_back_with_its_tree(disk: Disk) -> None:
    api = disk.api
    snapshot = api.VDI.snapshot(disk.vdi, {})
    api.VDI.set_name_label(disk.vdi, "renamed")
    before = {one: api.VDI.get_record(one) for one in (disk.vdi, snapshot)}
    sr, config = api.SR.get_record(disk.sr), api.PBD.get_device_config(api.SR.get_PBDs(disk.sr)[0])
    api.PBD.unplug(api.SR.get_PBDs(disk.sr)[0])
    api.SR.forget(disk.sr)
    assert refused(api.VDI.get_uuid, snapshot)[0] == "HANDLE_INVALID"
    again = api.SR.introduce(sr["uuid"], "again", "", "small", "user", True, {})
    (host,) = api.host.get_all()
    pbd = api.PBD.create({"host": host, "SR": again, "device_config": config, "other_config": {}})
    api.PBD.plug(pbd)
    api.SR.scan(again)
    api.SR.update(again)
    for row in before.values():
        now = api.VDI.get_record(api.VDI.get_by_uuid(row["uuid"]))
        same = ("location", "name_label", "is_a_snapshot", "snapshot_time", "virtual_size")
        assert {name: now[name] for name in same} == {name: row[name] for name in same}
    assert api.VDI.get_snapshot_of(api.VDI.get_by_uuid(before[snapshot]["uuid"])) == api.VDI.get_by_uuid(
        before[disk.vdi]["uuid"]
    )


def test_one_forgotten_snapshot_is_introduced(disk: Disk) -> None:
    api = disk.api
    snapshot = api.VDI.snapshot(disk.vdi, {})
    row = api.VDI.get_record(snapshot)
    api.VDI.forget(snapshot)
    told = [row["uuid"], "", "", disk.sr, "user", False, False, {}, row["location"], {}, {}]
    again = api.VDI.introduce(*told, True, "0", "0", NULL, False, "19700101T00:00:00Z", NULL)
    assert api.VDI.get_uuid(again) == row["uuid"] and api.VDI.get_snapshot_of(again) == disk.vdi
    assert disk.asked("vdi_introduce")["new_uuid"] == row["uuid"]
    other = ["00000000-0000-4000-8000-000000000000", *told[1:]]
    assert refused(api.VDI.introduce, *other, True, "0", "0", NULL, False, "19700101T00:00:00Z", NULL) == [
        "LOCATION_NOT_UNIQUE", disk.sr, row["location"],
    ]  # fmt: skip


def test_a_copy_runs_where_both_srs_are(three: LoopbackPool) -> None:
    api = log_in(three)
    sr = make_sr(api, three)
    hosts = {api.host.get_name_label(host): host for host in api.host.get_all()}
    local = next(
        ref for ref in api.SR.get_by_name_label("Local storage")
        if api.PBD.get_host(api.SR.get_PBDs(ref)[0]) == hosts["xen3"]
    )  # fmt: skip
    vdi = api.VDI.create(vdi_record(local))
    data = os.urandom(8 * MIB)
    (three.hosts["xen3"].dir / "sr" / f"{api.VDI.get_location(vdi)}.img").write_bytes(data)
    copy = api.VDI.copy(vdi, sr, NULL, NULL)
    assert (three.master.root / "storage" / api.VDI.get_location(copy)).read_bytes() == data
    assert "vdi_attach" in commands(three.hosts["xen3"]) and "vdi_attach" not in commands(three.master)
