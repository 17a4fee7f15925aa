"""What makes a copy of the hosts' image one host: names, addresses, keys, the pool's password.

It is written into the host's own disk before its first boot, so it outlives crashes. Must not start anything.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import uuid
from pathlib import Path

from lab.command import run
from lab.images.dom0 import ROOT_OFFSET_BYTES
from lab.topology import LAN, Host, Lab

NAMESPACE = uuid.UUID("6a0a3c5e-52a1-4d0e-9d6f-0c5a10ab0001")  # of the uuids made here; any constant would do
READABLE, PRIVATE = "0100644", "0100600"


def host_uuid(lab: Lab, host: Host) -> str:
    """The uuid of the host in the pool: INSTALLATION_UUID of its /etc/xensource-inventory."""
    return str(uuid.uuid5(NAMESPACE, f"{lab.dir} {host.name} host"))


def control_domain_uuid(lab: Lab, host: Host) -> str:
    return str(uuid.uuid5(NAMESPACE, f"{lab.dir} {host.name} dom0"))


def make_secrets(lab: Lab) -> None:
    """The pool's password and the lab's SSH key, made once."""
    if not lab.password_file.exists():
        write_private(lab.password_file, secrets.token_urlsafe(12))
    if not lab.ssh_key.with_suffix(".pub").exists():
        make_ssh_key(lab.ssh_key)


def make_disk(lab: Lab, host: Host, template: Path) -> None:
    """The host's disk: a copy of the image's, made this host's own. Left alone if there is one."""
    if host.disk.exists():
        return
    host.dir.mkdir(parents=True, exist_ok=True)
    for leftover in host.dir.glob("sda.img.tmp.*"):
        leftover.unlink()
    new = host.disk.with_name(f"sda.img.tmp.{os.getpid()}")
    with contextlib.ExitStack() as undo:
        undo.callback(new.unlink, missing_ok=True)
        run(["cp", "--sparse=always", "--reflink=auto", template, new], timeout_s=300)
        run(["sgdisk", "--randomize-guids", new], timeout_s=30)
        _write_files(new, _files(lab, host), host.dir / "identity")
        new.rename(host.disk)
        undo.pop_all()


def known_hosts(host: Host) -> Path:
    """For ssh(1): the host key that the lab gave this host."""
    path = host.dir / "ssh" / "known_hosts"
    if not path.exists():
        key = (host.dir / "ssh" / "ssh_host_ed25519_key.pub").read_text()
        path.write_text(f"{host.channel_dom0} {key}")
    return path


def write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def make_ssh_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path], timeout_s=10)


def _files(lab: Lab, host: Host) -> dict[str, tuple[str, str]]:
    """Path in dom0 → (content, mode)."""
    key = host.dir / "ssh" / "ssh_host_ed25519_key"
    if not key.with_suffix(".pub").exists():
        make_ssh_key(key)
    public_key = key.with_suffix(".pub").read_text()
    return {
        "/etc/hostname": (f"{host.name}\n", READABLE),
        "/etc/hosts": ("127.0.0.1 localhost\n" + "".join(f"{h.address} {h.name}\n" for h in lab.hosts), READABLE),
        "/etc/machine-id": (uuid.UUID(host_uuid(lab, host)).hex + "\n", READABLE),
        "/etc/lab/network.batch": (_network(host), READABLE),
        "/etc/lab/toolstack": (f"TOOLSTACK={host.channel_lab}\n", READABLE),
        "/etc/ssh/ssh_host_ed25519_key": (key.read_text(), PRIVATE),
        "/etc/ssh/ssh_host_ed25519_key.pub": (public_key, READABLE),
        "/root/.ssh/authorized_keys": (lab.ssh_key.with_suffix(".pub").read_text(), PRIVATE),
        "/etc/shadow": (_shadow(lab), PRIVATE),
        "/etc/xensource-inventory": (_inventory(lab, host), READABLE),
    }


def _network(host: Host) -> str:
    return "".join(
        f"{line}\n"
        for line in (
            "link set lo up",
            "link set eth0 up",
            f"address add {host.address}/24 broadcast {LAN}.255 dev eth0",
            "link set eth1 up",
            f"address add {host.channel_dom0}/24 dev eth1",
        )
    )


def _shadow(lab: Lab) -> str:
    # Few rounds: an emulated CPU computes this at every login.
    password = lab.password_file.read_text()
    hashed = run(["openssl", "passwd", "-6", "-stdin"], input=password + "\n", timeout_s=10).stdout.strip()
    locked = ("daemon", "bin", "sys", "man", "mail", "www-data", "nobody", "_apt", "sshd", "_chrony", "systemd-network")
    return f"root:{hashed}:19000:0:99999:7:::\n" + "".join(f"{name}:*:19000:0:99999:7:::\n" for name in locked)


def _inventory(lab: Lab, host: Host) -> str:
    values = {
        "INSTALLATION_UUID": host_uuid(lab, host),
        "CONTROL_DOMAIN_UUID": control_domain_uuid(lab, host),
        "MANAGEMENT_INTERFACE": "eth0",
        "MANAGEMENT_ADDRESS_TYPE": "IPv4",
        "PRIMARY_DISK": f"/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_{host.disk_serial}",
        "PRODUCT_BRAND": "XCP-ng",
        "PRODUCT_VERSION": "8.3.0",
        "PRODUCT_VERSION_TEXT": "8.3",
        "PLATFORM_NAME": "XCP",
        "PLATFORM_VERSION": "3.4.0",
        "BUILD_NUMBER": "lab",
        "DOM0_VCPUS": "1",
        "DOM0_MEM": "480",
    }
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _write_files(disk: Path, files: dict[str, tuple[str, str]], staging: Path) -> None:
    """Write into the root area without mounting it: debugfs needs no loop device and leaves nothing behind."""
    staging.mkdir(mode=0o700, exist_ok=True)
    commands = []
    try:
        for number, (path, (content, mode)) in enumerate(files.items()):
            source = staging / str(number)
            source.write_text(content)
            folder, name = path.rsplit("/", 1)
            commands += [f"cd {folder or '/'}", f"rm {name}", f"write {source} {name}"]
            commands += [f"set_inode_field {name} mode {mode}", f"set_inode_field {name} uid 0"]
        script = "\n".join(commands) + "\n"
        done = run(["debugfs", "-w", "-f", "-", f"{disk}?offset={ROOT_OFFSET_BYTES}"], input=script, timeout_s=60)
    finally:
        shutil.rmtree(staging)
    for line in done.stderr.splitlines():
        # `rm` of what is not there is expected; anything else is not.
        if line and not line.startswith(("debugfs 1.", "rm: File not found")):
            raise RuntimeError(f"debugfs on {disk}: {line}")
