"""A disk leaves a running storage VM and another comes in its place, against the stand-in: its VBDs, VDIs and links."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.xapi.dom0 import LocalDom0
from lab.xapi.loopback import PASSWORD, LoopbackPool
from shoal.clients.pins import Pins
from shoal.clients.ssh import Unreachable
from shoal.clients.xenapi import XenApi
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.plan.action import Action, Change
from shoal.steps import disk_removal, pbd_removal, storage_vm
from shoal.steps.tools import Tools
from tests.contract.pools import install_driver as install
from tests.contract.pools import log_in, make_sr, master, vbd_record, vdi_record, vm_record
from tests.contract.test_product_command import SPEC, start
from tests.contract.test_storage_life import any_block_device

NAME = "shoal-osd-xen1-1"
FOLDER = "opt/shoal/disks"


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[LoopbackPool]:
    made = LoopbackPool(tmp_path / "pool")
    install(made.master)
    with made:
        yield made


class Dom0:
    """A host's folder as its dom0, as steps see it over SSH."""

    name = "dom0 of xen1"

    def __init__(self, root: Path) -> None:
        self._inside = LocalDom0("xen1", root)

    async def run(self, argv: list[str], *, timeout_s: float, check: bool = True) -> Any:
        done = self._inside.run(argv, timeout_s=timeout_s)
        assert done.code == 0 or not check, done.stderr
        return done


@pytest.fixture
async def tools(pool: LoopbackPool, tmp_path: Path) -> AsyncIterator[Tools]:
    xenapi = XenApi(pool.url, "root", Secret(PASSWORD), pins=Pins(tmp_path / "pins.json"))
    dom0 = Dom0(pool.master.root)

    async def find_dom0(host: str) -> Dom0:
        assert host == "xen1"
        return dom0

    async def find_guest(host: str) -> Dom0:
        raise Unreachable(f"{host} has no storage VM that could be asked")

    connections: Any = SimpleNamespace(xenapi=xenapi, dom0=find_dom0, storage_vm=find_guest)
    yield Tools(connections, lambda *_: None)
    await xenapi.close()


def make_disk(root: Path) -> Path:
    """A GPT disk of 16 MiB with the OSD's partition, under its stable name."""
    disk = root / "dev/sdb"
    (root / "dev/disk/by-id").mkdir(parents=True)
    (root / "dev/disk/by-id/ata-old").symlink_to("../../sdb")
    with disk.open("xb") as image:
        image.truncate(16 << 20)
    words = ["sgdisk", "--new=1:2048:20479", f"--change-name=1:{NAME}", str(disk)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    return disk


def make_storage_vm(api: Any, pool: LoopbackPool) -> tuple[str, str]:
    """A running HVM guest with a system disk and the disk at place 2."""
    (pool.master.root / FOLDER).mkdir(parents=True)
    (pool.master.root / FOLDER / NAME).symlink_to(any_block_device())
    sr = api.SR.create(master(api), {"location": f"/{FOLDER}"}, "0", "Shoal disks xen1", "", "udev", "disk", False, {})
    api.SR.scan(sr)
    (vdi,) = api.SR.get_VDIs(sr)
    name, marks = "shoal-storage-xen1", {"shoal:host": "xen1"}
    hvm: dict[str, Any] = {"HVM_boot_policy": "BIOS order", "PV_kernel": "", "other_config": marks}
    vm = api.VM.create(vm_record(name, **hvm))
    system = api.VDI.create(vdi_record(make_sr(api, pool)))
    api.VBD.create(vbd_record(vm, system))
    api.VBD.create(vbd_record(vm, vdi, userdevice="2", bootable=False, unpluggable=False))
    api.VM.start(vm, False, False)
    return vm, vdi


def removal(*, wipe: bool = False) -> Action:
    settings = {"disk": NAME, "device": "/dev/disk/by-id/ata-old", "position": "2", "wipe": wipe}
    return Action("disk_removal", "xen1:1", Change.UPDATE, "test", "xen1", settings=settings)


def rename(disk: Path, name: str) -> None:
    words = ["sgdisk", f"--change-name=1:{name}", str(disk)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)


def table(disk: Path) -> str:
    return subprocess.run(["sgdisk", "--print", disk], check=True, capture_output=True, text=True, timeout=30).stdout


def places(api: Any, vm: str) -> dict[str, bool]:
    vbds = [api.VBD.get_record(ref) for ref in api.VM.get_VBDs(vm)]
    return {vbd["userdevice"]: vbd["currently_attached"] for vbd in vbds}


async def test_a_disk_leaves_and_another_takes_its_place(pool: LoopbackPool, tools: Tools) -> None:
    api, disk = log_in(pool), make_disk(pool.master.root)
    vm, vdi = make_storage_vm(api, pool)
    assert await disk_removal.verify(removal(), tools) == "the storage VM still has the disk"
    await disk_removal.apply(removal(), tools)
    assert await disk_removal.verify(removal(), tools) == ""
    assert places(api, vm) == {"0": True}
    assert vdi not in api.VDI.get_all()
    assert not (pool.master.root / FOLDER / NAME).is_symlink()
    assert f"old-{NAME}" in table(disk)
    await disk_removal.apply(removal(), tools)  # once more changes nothing

    (pool.master.root / FOLDER / NAME).symlink_to(any_block_device())
    (sr,) = api.SR.get_by_name_label("Shoal disks xen1")
    api.SR.scan(sr)
    (new,) = api.SR.get_VDIs(sr)
    await storage_vm.attach(tools.xenapi, vm, {"2": new})
    assert places(api, vm) == {"0": True, "2": True}
    await storage_vm.attach(tools.xenapi, vm, {"2": new})
    assert len(api.VM.get_VBDs(vm)) == 2


async def test_what_a_killed_run_has_not_done_is_seen_and_done(pool: LoopbackPool, tools: Tools) -> None:
    api, disk = log_in(pool), make_disk(pool.master.root)
    vm, _ = make_storage_vm(api, pool)
    (vbd,) = [ref for ref in api.VM.get_VBDs(vm) if api.VBD.get_userdevice(ref) == "2"]
    api.VBD.set_unpluggable(vbd, True)
    api.VBD.unplug(vbd)
    await disk_removal.apply(removal(), tools)
    assert await disk_removal.verify(removal(), tools) == ""
    rename(disk, NAME)
    assert await disk_removal.verify(removal(), tools) == f"there is still a partition {NAME}"
    await disk_removal.apply(removal(), tools)
    assert await disk_removal.verify(removal(), tools) == ""


async def test_a_dead_disk_is_only_forgotten(pool: LoopbackPool, tools: Tools) -> None:
    api = log_in(pool)
    vm, vdi = make_storage_vm(api, pool)
    await disk_removal.apply(removal(), tools)
    assert await disk_removal.verify(removal(), tools) == ""
    assert places(api, vm) == {"0": True}
    assert vdi not in api.VDI.get_all()


async def test_a_host_loses_its_way_to_the_shared_sr_when_no_vm_needs_it(pool: LoopbackPool, tools: Tools) -> None:
    api = log_in(pool)
    sr = make_sr(api, pool)
    vm = api.VM.create(vm_record())
    api.VBD.create(vbd_record(vm, api.VDI.create(vdi_record(sr))))
    api.VM.start(vm, False, False)
    leaves = Action(
        "pbd_removal", "xen1, once more", Change.UPDATE, "test", "xen1", settings={"srs": (api.SR.get_uuid(sr), "none")}
    )
    with pytest.raises(ShoalError, match="cannot be unplugged on xen1"):
        await pbd_removal.apply(leaves, tools)
    assert await pbd_removal.verify(leaves, tools) == "it still has a PBD"
    api.VM.hard_shutdown(vm)
    for _ in range(2):
        await pbd_removal.apply(leaves, tools)
        assert await pbd_removal.verify(leaves, tools) == ""
    assert api.SR.get_PBDs(sr) == []


def disk(spec: Path, verb: str, *words: str) -> tuple[int, str]:
    with start("disk", verb, "-f", spec, "--state", spec.parent / "state", *words) as process:
        out, err = process.communicate(timeout=240)
        return process.returncode, out + err


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (
            ("replace", "xen1", "x", "/dev/disk/by-id/y", "--dry-run"),
            1,
            "Ceph cannot be asked: there is no cluster yet",
        ),
        (("replace", "xen1", "x", "/dev/disk/by-id/y"), 1, "disk replace asks before it changes anything"),
        (("replace", "xen1", "x", "/dev/sdb", "--yes"), 2, "not a stable name of a disk"),
        (("replace", "xen1", "z", "/dev/disk/by-id/y", "--yes"), 1, "the spec names no disk z on xen1"),
        (("add", "xen9", "/dev/disk/by-id/y", "--yes"), 1, "the spec has no host xen9"),
        (("remove", "xen1", "x", "--yes"), 1, "x is the last disk of xen1 in the spec"),
        (("remove", "xen1", "z", "--yes"), 1, "xen1 has no disk z that is or was Shoal's"),
    ],
)
def test_a_refusal_leaves_the_spec_as_it_is(
    pool: LoopbackPool, tmp_path: Path, words: tuple[str, ...], code: int, what: str
) -> None:
    spec = tmp_path / "shoal.yaml"
    spec.write_text(SPEC.format(url=pool.url))
    ended, said = disk(spec, *words)
    assert (ended, what in said) == (code, True), said
    assert spec.read_text() == SPEC.format(url=pool.url)
