"""Virtual disks out of XenAPI's records, and files of this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shoal.observe.virtual_disks import look_at_file, read_virtual_disks

MIB = 1 << 20


def vdi(*vbds: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": "u",
        "name_label": "web",
        "SR": "sr",
        "virtual_size": "4194304",
        "physical_utilisation": "-1",
        "is_a_snapshot": False,
        "on_boot": "reset",
        "VBDs": list(vbds),
        "other_config": {"a": "b"},
        **more,
    }


def vbd(vm: str, **more: Any) -> dict[str, Any]:
    return {"VM": vm, "userdevice": "0", "currently_attached": True, "type": "Disk", **more}


RECORDS: dict[str, dict[str, Any]] = {
    "host": {"h": {"name_label": "xen1"}},
    "PBD": {"p": {"uuid": "p", "host": "h", "currently_attached": True, "device_config": {}}},
    "SR": {
        "sr": {"uuid": "s", "name_label": "shoal", "type": "rbd", "shared": True, "PBDs": ["p"], "other_config": {}}
    },
    "VM": {
        "vm": {"uuid": "v", "name_label": "web", "power_state": "Running", "is_control_domain": False},
        "dom0": {"uuid": "d", "name_label": "dom0", "power_state": "Running", "is_control_domain": True},
    },
    "VBD": {"1": vbd("vm"), "2": vbd("dom0"), "3": vbd("gone"), "4": vbd("vm", type="CD", currently_attached=False)},
}


def test_a_disk_and_its_users_of_which_dom0_is_none() -> None:
    seen = read_virtual_disks({**RECORDS, "VDI": {"a": vdi("1", "2", "3", "4", "5"), "b": vdi(SR="gone")}})
    (disk,) = seen.disks
    assert (disk.sr, disk.size_bytes, disk.used_bytes, disk.resets_at_boot) == ("s", 4 * MIB, 0, True)
    assert [(user.vm, user.attached, user.is_disk) for user in disk.users] == [
        ("web", True, True),
        ("web", False, False),
    ]
    assert [(sr.name, [pbd.host for pbd in sr.pbds]) for sr in seen.srs] == [("shoal", ["xen1"])]


def test_a_sparse_file(tmp_path: Path) -> None:
    file = tmp_path / "image.raw"
    with file.open("wb") as opened:
        opened.truncate(8 * MIB)
        opened.write(os.urandom(MIB))
    seen = look_at_file(file)
    assert (seen.exists, seen.size_bytes, seen.data_bytes, seen.unreadable) == (True, 8 * MIB, MIB, "")
    assert seen.changed_ns == file.stat().st_mtime_ns


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    absent = look_at_file(tmp_path / "absent.raw")
    assert (absent.exists, absent.unreadable) == (False, "No such file or directory")
    assert absent.free_bytes > 0
    assert look_at_file(tmp_path / "nowhere/absent.raw").free_bytes == 0
    assert look_at_file(tmp_path).unreadable == "Is a directory"
    assert look_at_file(Path(os.devnull)).unreadable == "it is not a regular file"
