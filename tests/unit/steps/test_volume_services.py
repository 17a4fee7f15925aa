"""Which files the volume service runs is written once it was started with them, and forgotten before they change."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shoal.clients.ssh import Completed
from shoal.plan.action import Action, Change
from shoal.steps import volume_services
from shoal.steps.volume_service import INSTALL, add_monitors

SETTINGS = {"hosts": ("xen1",), "names": ("shoal-storage-xen1",), "image": "ceph:18.2.7"}
ACTION = Action("volume_services", "cluster", Change.UPDATE, "", settings=SETTINGS)


class StorageVm:
    """Is the tools, the Ceph that they give and the storage VM, whose service listens at once."""

    def __init__(self) -> None:
        self.locks, self.told, self.looks = defaultdict[str, asyncio.Lock](asyncio.Lock), list[str](), 0

    async def ceph(self) -> Any:
        return self

    async def storage_vm(self, _host: str) -> Any:
        return self

    def progress(self, _action: Action, _text: str) -> None:
        pass

    async def text(self, _argv: Sequence[str], **_more: object) -> str:
        return ""

    async def run(self, argv: Sequence[str], **_more: object) -> Completed:
        if argv[0] == "ss":
            self.looks += 1
            return Completed("LISTEN", "", 0)
        if "list-units" in argv:
            return Completed("ceph-1@container.shoal-volumes.service loaded active running\n", "", 0)
        self.told.append(f"{' '.join(argv)} after {self.looks} looks")
        return Completed("", "", 0)


async def test_what_runs_is_written_last() -> None:
    vm: Any = StorageVm()
    async with asyncio.timeout(10):
        await volume_services.apply(ACTION, vm)
    assert vm.told[1:] == [
        "systemctl restart ceph-1@container.shoal-volumes.service after 0 looks",
        "cp /opt/shoal/volumes.digest /opt/shoal/volumes.running after 2 looks",
    ]


async def test_one_after_the_other_is_started_anew() -> None:
    """A call of the driver fails when none of them answers."""
    vm: Any = StorageVm()
    action = replace(ACTION, settings={**SETTINGS, "hosts": ("xen1", "xen2")})
    async with asyncio.timeout(10):
        await volume_services.apply(action, vm)
    restarts = [told for told in vm.told if "systemctl restart" in told]
    assert [told.rpartition(" after ")[2] for told in restarts] == ["0 looks", "1 looks"]


def test_new_files_run_nowhere_yet(tmp_path: Path) -> None:
    stage, code, digest, running = (tmp_path / name for name in ("stage", "volumes", "volumes.digest", "running"))
    digest.write_text("old")
    running.write_text("old")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(f"{code}/a.py".lstrip("/")))
    argv: list[str | Path] = ["sh", "-c", INSTALL, "sh", stage, code, digest, running]
    subprocess.run(argv, input=packed.getvalue(), check=True, timeout=20)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.py", "volumes"]


def test_the_services_know_monitors_that_are_still_to_come() -> None:
    """Of a new cluster Ceph names the first one only: a service could not connect anew once that is gone."""
    first = "# minimal ceph.conf for 9aa2\n[global]\n\tfsid = 9aa2\n"
    first += "\tmon_host = [v2:10.77.0.21:3300/0,v1:10.77.0.21:6789/0] \n"
    known = add_monitors(first, ["10.77.0.21", "10.77.0.2", "10.77.0.23"])
    assert known.splitlines()[:3] == first.splitlines()[:3]
    assert known.splitlines()[3].split(" = ")[1].split() == [
        f"[v2:{address}:3300/0,v1:{address}:6789/0]" for address in ("10.77.0.21", "10.77.0.2", "10.77.0.23")
    ]
    assert add_monitors(known, ["10.77.0.23", "10.77.0.2"]) == known
