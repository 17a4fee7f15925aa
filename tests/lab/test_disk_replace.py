"""A disk of a running pool is replaced by its host's spare one, which then dies and is replaced, too: the id stays.

Then a host's spare one is given to Ceph beside the first, and taken away again.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import BIN, ROOT, SPEC, Run, lab_cli
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.whole_pool import copy_spec, make_whole

pytestmark = [pytest.mark.lab, pytest.mark.long]
HOST, OTHER = "xen3", "xen2"
# The bus forgets the spare disk, as when it is pulled out; and finds it again.
PULL = "echo 1 >$(readlink -f /sys/block/vda/device)/../remove; udevadm settle"
RESCAN = "echo 1 >/sys/bus/pci/rescan; udevadm settle"
STOP_OSD = "systemctl stop $(systemctl list-units --plain --no-legend 'ceph-*@osd.*' | cut -d' ' -f1)"


@pytest.fixture(scope="module")
def spec(lab: Lab, shoal: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = copy_spec(tmp_path_factory.mktemp("spec"))
    make_whole(shoal, file)
    return file


def disk(spec: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv: list[str | Path] = [BIN / "shoal-lab", "exec", "--", BIN / "shoal", "disk", verb, "-f", spec, *words]
    env = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False, env=env)


def osds(shoal: Run, spec: Path) -> list[tuple[int, bool, bool]]:
    """Id, up and in of each."""
    seen: dict[str, Any] = json.loads(shoal("status", "--json", spec=spec).stdout)
    return sorted((osd["id"], osd["up"], osd["in_cluster"]) for osd in seen["facts"]["ceph"]["osds"])


def in_dom0(*words: str, host: str = HOST) -> str:
    return lab_cli("run", host, "--", *words).stdout


def by_id(lab: Lab, host: str) -> tuple[str, str]:
    """The stable names of its disk and of its spare one."""
    seen = lab.host(host)
    first = f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{seen.disk_serial}"
    return first, f"/dev/disk/by-id/virtio-{seen.spare_disk_serial}"


def plan_is_empty(shoal: Run, spec: Path) -> None:
    done = shoal("plan", "--exit-code", spec=spec)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_disk_is_replaced_by_the_spare_one_and_back(lab: Lab, shoal: Run, spec: Path) -> None:
    first, spare = by_id(lab, HOST)
    before, wanted = osds(shoal, spec), (HOST, first, spare, "--use", "whole-disk", "--wipe-old")

    looked = disk(spec, "replace", *wanted, "--dry-run")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert "ONE COPY LESS" in looked.stdout
    assert spec.read_text() == SPEC.read_text()

    done = disk(spec, "replace", *wanted, "--yes")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert spare in spec.read_text()
    assert osds(shoal, spec) == before
    assert f"shoal-osd-{HOST}-1" not in in_dom0("sgdisk", "--print", "/dev/sda")
    assert f"shoal-osd-{HOST}-1" in in_dom0("sgdisk", "--print", "/dev/vda")

    # The spare dies: its OSD with it, and dom0 does not see it any more.
    in_storage_vm(lab, lab.host(HOST), ["sh", "-c", STOP_OSD])
    in_dom0("sh", "-c", PULL)
    back = (HOST, spare, first, "--use", "free-space")
    try:
        witness_vm.wait_for(  # until Ceph has taken the OSD for down, and its placement groups go on without it
            lambda: disk(spec, "replace", *back, "--dry-run"),
            lambda looked: looked.returncode == 0 and "dom0 does not see the disk" in looked.stdout,
            timeout_s=120,
            what="the dead disk to be seen",
        )
        done = disk(spec, "replace", *back, "--yes")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    finally:
        in_dom0("sh", "-c", f"{RESCAN}; sgdisk --zap-all /dev/vda")  # as a person does before it may come back
    assert osds(shoal, spec) == before
    assert spec.read_text() == SPEC.read_text()
    plan_is_empty(shoal, spec)


def test_a_spare_disk_is_added_and_removed(lab: Lab, shoal: Run, spec: Path) -> None:
    _, spare = by_id(lab, OTHER)
    before = osds(shoal, spec)
    done = disk(spec, "add", OTHER, spare, "--yes")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert osds(shoal, spec) == [*before, (len(before), True, True)]
    assert f"shoal-osd-{OTHER}-2" in in_dom0("sgdisk", "--print", "/dev/vda", host=OTHER)
    plan_is_empty(shoal, spec)

    leaves = ("remove", OTHER, spare, "--wipe")
    witness_vm.wait_for(  # while placement groups peer anew, nothing may leave
        lambda: disk(spec, *leaves, "--dry-run"), lambda looked: looked.returncode == 0, timeout_s=120, what="leave"
    )
    done = disk(spec, *leaves, "--yes")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert osds(shoal, spec) == before
    assert "shoal" not in in_dom0(
        "sh", "-c", "sgdisk --print /dev/vda; ls /opt/shoal/disks | grep -- -2; true", host=OTHER
    )
    plan_is_empty(shoal, spec)
    assert spec.read_text() == SPEC.read_text()
    in_dom0("sgdisk", "--zap-all", "/dev/vda", host=OTHER)
