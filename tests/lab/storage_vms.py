"""Storage VMs without hosts or a toolstack: for the test of `lab.storage_vm` and for the yardstick of `make bench`."""

from __future__ import annotations

import io
import subprocess
import time
import uuid
from pathlib import Path

import pycdlib

from lab import storage_vm
from lab.command import Completed, run
from lab.images import storage_vm as image
from lab.storage_vm import Disk, Vif, VirtualMachine
from lab.topology import BRIDGE, Host, Lab

GIB = 1024**3
ROOT_BYTES = 20 * GIB
DATA_OFFSET_BYTES = 8 * GIB
DATA_BYTES = 32 * GIB


def describe(lab: Lab, host: Host, key: Path) -> VirtualMachine:
    """A VM with a system disk, a config drive and a range of the host's disk; makes what of it is missing."""
    folder = host.dir / "sr"
    folder.mkdir(parents=True, exist_ok=True)
    root, drive = folder / "root.img", folder / "config.iso"
    if not root.exists():
        run(["cp", "--sparse=always", image.build(lab.cache), root], timeout_s=1500)
        run(["truncate", f"--size={ROOT_BYTES}", root], timeout_s=10)
    run(["truncate", f"--size={DATA_OFFSET_BYTES + DATA_BYTES}", host.disk], timeout_s=10)
    mac = f"52:54:00:79:00:{host.index:02x}"
    write_config_drive(drive, host, mac, key.with_suffix(".pub").read_text().strip())
    disks = (
        Disk("0", root, 0, ROOT_BYTES),
        Disk("1", drive, 0, drive.stat().st_size, writable=False),
        Disk("2", host.disk, DATA_OFFSET_BYTES, DATA_BYTES),
    )
    own = str(uuid.uuid5(uuid.NAMESPACE_URL, str(host.dir)))
    return VirtualMachine(own, f"{host.name}-storage", 4 * GIB, 2, (Vif(mac, BRIDGE),), disks)


def write_config_drive(path: Path, host: Host, mac: str, public_key: str) -> None:
    network = f"version: 2\nethernets:\n  lan:\n    match: {{macaddress: '{mac}'}}\n    set-name: eth0\n"
    files = {
        "meta-data": f"instance-id: {host.name}\nlocal-hostname: {host.name}-storage\n",
        "user-data": f"#cloud-config\nusers: []\nssh_authorized_keys: ['{public_key}']\n",
        "network-config": f"{network}    addresses: [{host.storage_vm_address}/24]\n",
    }
    drive = pycdlib.PyCdlib()
    drive.new(rock_ridge="1.09", vol_ident="CIDATA")
    for number, (name, text) in enumerate(files.items()):
        data = text.encode()
        drive.add_fp(io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name)
    drive.write(str(path))
    drive.close()


def make_key(lab: Lab) -> Path:
    key = lab.dir / "ssh" / "guest"
    key.parent.mkdir(parents=True, exist_ok=True)
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=20)
    return key


def inside(lab: Lab, host: Host, key: Path, command: str, *, check: bool = True, timeout_s: float = 60) -> Completed:
    """Run a command in the host's storage VM, from the workstation."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    options += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]
    argv: list[str | Path] = ["ssh", "-i", key, *options, f"root@{host.storage_vm_address}", command]
    return run(argv, namespace=lab.namespace, timeout_s=timeout_s, check=check)


def wait_until_up(lab: Lab, host: Host, key: Path, *, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        done = inside(lab, host, key, "cloud-init status --wait && systemctl is-system-running --wait", check=False)
        if done.code == 0:
            return
        assert time.monotonic() < deadline, f"{host.name}'s storage VM is not up: {done}"
        assert storage_vm.is_running(lab, host, str(uuid.uuid5(uuid.NAMESPACE_URL, str(host.dir))))
        time.sleep(1)
