"""Plans of work on single virtual disks: what is done, what not, and every refusal with its remedy."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shoal.facts import DiskUser, LocalFile, Pbd, Sr, VirtualDisk, VirtualDisks
from shoal.kit.sizes import GiB, MiB
from shoal.plan import disk_export, disk_import, disk_move
from shoal.plan.action import Plan
from shoal.plan.disk_import import identify
from shoal.plan.virtual_disk import unfinished

HALTED = DiskUser("web", "vm-web", "Halted", "0", attached=False)
FILE = LocalFile("/images/web.raw", exists=True, size_bytes=4 * GiB, data_bytes=GiB, changed_ns=7, free_bytes=90 * GiB)
ABSENT = LocalFile("/out/web.raw", free_bytes=90 * GiB, unreadable="No such file or directory")


def sr(name: str, *hosts: str, plugged: bool = True, free: int = 50 * GiB) -> Sr:
    pbds = tuple(Pbd(f"pbd-{name}-{host}", host, plugged, {}) for host in hosts)
    return Sr(f"sr-{name}", name, "rbd", True, pbds, 60 * GiB, 60 * GiB - free)


def disk(uuid: str = "vdi-1", name: str = "web", on: str = "sr-local", **more: Any) -> VirtualDisk:
    return replace(VirtualDisk(uuid, name, on, 4 * GiB, GiB, users=(HALTED,)), **more)


def world(*disks: VirtualDisk, **changes: Sr) -> VirtualDisks:
    srs = {"local": sr("local", "xen1"), "shoal": sr("shoal", "xen1", "xen2"), **changes}
    return VirtualDisks(tuple(srs.values()), disks)


def told(plan: Plan) -> list[str]:
    """All that a plan says: its problems, or else its actions."""
    if plan.problems:
        return [f"{problem.what} ({problem.remedy})" for problem in plan.problems]
    return [f"{action.change}: {action.reason}" for action in plan.actions]


def test_an_import_of_a_new_file() -> None:
    plan = disk_import.plan(FILE, "shoal", "web", world())
    assert told(plan) == ["create: /images/web.raw (4 GiB, 1 GiB of it data) to SR 'shoal'"]
    assert plan.actions[0].settings["sr"] == "sr-shoal"


def begun(**marks: str) -> VirtualDisk:
    marks = {"shoal:import": identify(FILE, "web"), **{f"shoal:{key}": value for key, value in marks.items()}}
    return disk("vdi-2", "web", "sr-shoal", users=(), other_config=marks)


def test_an_import_goes_on_after_what_was_confirmed() -> None:
    there = begun(**{"import-bytes": str(512 * MiB)})
    assert unfinished(there) == "import not finished"
    assert told(disk_import.plan(FILE, "shoal", "web", world(there))) == [
        "update: /images/web.raw (4 GiB, 1 GiB of it data) to SR 'shoal': goes on after 512 MiB"
    ]


def test_an_import_that_is_complete_is_not_made_again() -> None:
    there = begun(imported="true")
    assert unfinished(there) == ""
    assert told(disk_import.plan(FILE, "shoal", "web", world(there))) == ["none: it is imported: VDI vdi-2"]
    assert told(disk_import.plan(FILE, "shoal", "other", world(there)))[0].startswith("create: ")


def test_a_file_that_was_changed_is_not_put_behind_half_of_the_old_one() -> None:
    plan = disk_import.plan(replace(FILE, changed_ns=8), "shoal", "web", world(begun()))
    assert told(plan) == [
        "an import of /images/web.raw as 'web' was begun, and the file was changed since "
        "(xe vdi-destroy uuid=vdi-2, or give the import another --name)"
    ]


def test_half_an_import_that_a_vm_has_is_left_alone() -> None:
    (said,) = told(disk_import.plan(FILE, "shoal", "web", world(replace(begun(), users=(HALTED,)))))
    assert said.startswith("the import to VDI vdi-2 was not finished, and the VM web has that disk (take the disk")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (replace(FILE, unreadable="Permission denied"), "cannot read /images/web.raw: Permission denied"),
        (replace(FILE, size_bytes=0, data_bytes=0), "/images/web.raw is empty"),
        (replace(FILE, data_bytes=51 * GiB), "SR 'shoal' has 50 GiB free, and /images/web.raw holds 51 GiB"),
    ],
)
def test_files_that_cannot_be_imported(file: LocalFile, said: str) -> None:
    (problem,) = disk_import.plan(file, "shoal", "web", world()).problems
    assert problem.what == said


def test_srs_that_are_not_there_not_plugged_or_there_twice() -> None:
    assert told(disk_import.plan(FILE, "nowhere", "web", world())) == [
        "the pool has no SR 'nowhere' (it has local, shoal)"
    ]
    unplugged = world(shoal=sr("shoal", "xen1", plugged=False))
    assert told(disk_import.plan(FILE, "shoal", "web", unplugged)) == [
        "SR 'shoal' is not plugged on any host (shoal apply, or xe pbd-plug)"
    ]
    twins = world(other=replace(sr("local", "xen2"), uuid="sr-local-2"))
    assert told(disk_import.plan(FILE, "local", "web", twins)) == [
        "the pool has 2 SRs called 'local' (name one by its uuid: sr-local, sr-local-2)"
    ]
    assert told(disk_import.plan(FILE, "sr-local-2", "web", twins))[0].startswith("create: ")


def test_an_export() -> None:
    assert told(disk_export.plan("web", ABSENT, world(disk()))) == [
        "create: 'web' (4 GiB) of SR 'local' to /out/web.raw"
    ]


def test_a_name_means_no_snapshot_and_never_two_disks() -> None:
    snapshot = disk("vdi-9", is_a_snapshot=True, users=())
    assert disk_export.plan("web", ABSENT, world(disk(), snapshot)).actions[0].settings["vdi"] == "vdi-1"
    assert disk_export.plan("vdi-9", ABSENT, world(disk(), snapshot)).actions[0].settings["vdi"] == "vdi-9"
    assert told(disk_export.plan("web", ABSENT, world(disk(), disk("vdi-2")))) == [
        "the pool has 2 disks called 'web' (name one by its uuid: vdi-1, vdi-2)"
    ]
    assert told(disk_export.plan("wob", ABSENT, world(disk()))) == [
        "the pool has no disk 'wob' (shoal disk list shows what there is)"
    ]


def test_an_export_never_takes_the_place_of_a_file() -> None:
    (said,) = told(disk_export.plan("web", replace(ABSENT, exists=True), world(disk())))
    assert said == "/out/web.raw is there already (name another file, or remove that one)"


def test_a_disk_in_use_and_a_full_file_system() -> None:
    running = replace(HALTED, power_state="Running", attached=True)
    assert told(disk_export.plan("web", replace(ABSENT, free_bytes=MiB), world(disk(users=(running,))))) == [
        "the disk is in use by web (shut it down, or xe vdi-snapshot uuid=vdi-1 and export the snapshot)",
        "1 MiB are free for /out/web.raw, and the disk holds 1 GiB (name a file elsewhere)",
    ]


def move(seen: VirtualDisks, name: str = "web", *, delete: bool = False) -> list[str]:
    return told(disk_move.plan(name, "shoal", seen, delete_source=delete))


def test_a_move() -> None:
    what = "4 GiB from SR 'local' to SR 'shoal', for disk 0 of VM 'web'"
    assert move(world(disk())) == [f"update: {what}; the old disk is kept"]
    assert move(world(disk()), delete=True) == [f"destroy: {what}; then the old disk WILL BE DELETED"]


def copy(**more: Any) -> VirtualDisk:
    return disk("vdi-2", "web", "sr-shoal", **{"users": (), "other_config": {"shoal:copy-of": "vdi-1"}, **more})


PENDING = {"shoal:copy-of": "vdi-1", "shoal:copy-vbd": json.dumps({"vm": "vm-web"})}


def test_a_copy_counts_only_from_when_the_vm_has_lost_the_old_disk() -> None:
    assert move(world(disk(), copy()), "vdi-1")[0].startswith("update: 4 GiB from SR 'local'")
    assert move(world(disk(), copy(other_config=PENDING)), "vdi-1")[0].startswith("update: 4 GiB from SR 'local'")
    assert move(world(disk(users=()), copy(other_config=PENDING)), "vdi-1", delete=True) == [
        "update: it is copied to SR 'shoal', and the VM has still to get the copy"
    ]


def test_a_move_that_was_made() -> None:
    moved = copy(users=(HALTED,))
    assert move(world(disk(users=()), moved), "vdi-1") == [
        "none: it was moved: VDI vdi-2; the old disk vdi-1 is still there"
    ]
    assert move(world(disk(users=()), moved), "vdi-1", delete=True) == [
        "destroy: it was moved to VDI vdi-2; the old disk vdi-1 WILL BE DELETED"
    ]
    assert move(world(moved), "vdi-1", delete=True) == ["none: it was moved: VDI vdi-2"]


def test_half_a_copy_of_a_disk_that_no_vm_has_is_never_taken_for_the_disk() -> None:
    for delete in (False, True):
        (said,) = move(world(disk(users=()), copy()), "vdi-1", delete=delete)
        assert said.startswith("no VM has the disk vdi-1, so there is nothing to move (")


RUNNING = replace(HALTED, power_state="Running", attached=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"users": (RUNNING,)}, "the VM web is running, and a disk is moved only while its VM is halted"),
        ({"users": (HALTED, replace(HALTED, vm="db"))}, "the disk belongs to more than one VM: db, web"),
        ({"users": (replace(HALTED, is_disk=False),)}, "it is a CD of the VM web"),
        ({"resets_at_boot": True}, "the disk is reset when its VM boots (on_boot=reset)"),
        ({"used_bytes": 51 * GiB}, "SR 'shoal' has 50 GiB free, and the disk holds 51 GiB"),
        (
            {"other_config": {"shoal:host": "xen1"}},
            "it is a disk of a storage VM, which must not lie on what storage VMs serve",
        ),
    ],
)
def test_disks_that_are_not_moved(changes: dict[str, Any], said: str) -> None:
    (problem,) = disk_move.plan("vdi-1", "shoal", world(disk(**changes)), delete_source=False).problems
    assert problem.what == said
    assert problem.remedy


def test_a_disk_that_is_there_already() -> None:
    assert move(world(disk(on="sr-shoal"))) == ["none: it is on SR 'shoal' already: VDI vdi-1"]


def test_a_name_never_means_the_copy_of_a_disk_of_that_name() -> None:
    assert move(world(disk(users=()), copy(users=(HALTED,)))) == [
        "none: it was moved: VDI vdi-2; the old disk vdi-1 is still there"
    ]


def test_srs_that_no_host_has_both_of() -> None:
    (said,) = move(world(disk(), local=sr("local", "xen3")))
    assert said.startswith(
        "no host has both SR 'local' and SR 'shoal' plugged (shoal disk export and shoal disk import"
    )


def test_a_disk_that_has_become_two() -> None:
    (said,) = move(world(disk(), copy(users=(replace(HALTED, vm="db"),))), "vdi-1")
    assert said.startswith(
        "VDI vdi-2 is an earlier copy of this disk, and the VM db has it (if it is a disk of its own"
    )
