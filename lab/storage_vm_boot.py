"""A storage VM's first moments, in a mount namespace of its own: mount the root, make it fit, become the container.

Run by `lab.storage_vm` only: `python -m lab.storage_vm_boot FOLDER`, with a `boot.json` in the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, config_drive
from lab.command import run

GUEST_FILES = Path(__file__).parent / "images" / "guest"
CAP_SYS_RESOURCE = 24
MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Plan:
    """`device` holds the root file system; `links` are the guest's names of its other disks: /dev/xvdX to loopN."""

    name: str
    root: str
    device: str
    links: dict[str, str]
    config_drives: list[str]
    command: list[str]


def main() -> None:
    plan = Plan(**json.loads((Path(sys.argv[1]) / "boot.json").read_text()))
    root = Path(plan.root)
    _mount(Path(plan.device), root)
    _prepare(root, plan)
    cgroups.enter(plan.name)
    os.execvp(plan.command[0], plan.command)


def _mount(device: Path, root: Path) -> None:
    size_bytes = int(run(["blockdev", "--getsize64", device], timeout_s=20).stdout)
    if _file_system_bytes(device) + MIB <= size_bytes:  # cloud-init's resizefs, which a container cannot do itself
        run(["e2fsck", "-f", "-p", device], timeout_s=120, check=False)  # resize2fs refuses what is not sound then
        run(["resize2fs", device], timeout_s=120)
    run(["mount", "-t", "ext4", device, root], timeout_s=60)


def _file_system_bytes(device: Path) -> int:
    lines = run(["dumpe2fs", "-h", device], timeout_s=20).stdout.splitlines()
    said = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(said["Block count"]) * int(said["Block size"])


def _prepare(root: Path, plan: Plan) -> None:
    """What Xen, udev and the machine do for a real guest, and what this machine's limits need."""
    for drive in plan.config_drives:
        config_drive.copy(Path(drive), root / "var/lib/cloud/seed/nocloud")
    lines = [f"L {link} - - - - {target}\n" for link, target in plan.links.items()]
    (root / "etc/tmpfiles.d/lab-disks.conf").write_text("".join(lines))
    # The clock is the machine's: chrony watches it and never sets it.
    (root / "etc/default/chrony").write_text('DAEMON_OPTS="-F 1 -x"\n')
    _install(GUEST_FILES / "sysctl", root / "usr/local/sbin/sysctl")
    if not _has_capability(CAP_SYS_RESOURCE):
        shim = "usr/local/sbin/runc-without-resource"
        _install(GUEST_FILES / "runc-without-resource", root / shim)
        settings = root / "etc/docker/daemon.json"
        daemon = json.loads(settings.read_text()) if settings.exists() else {}
        daemon |= {"default-runtime": "lab", "runtimes": {"lab": {"path": f"/{shim}"}}}
        settings.write_text(json.dumps(daemon))


def _install(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    bounding = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:"))
    return bool(int(bounding, 16) >> number & 1)


if __name__ == "__main__":
    main()
