"""The storage VM's image: Debian trixie with systemd, sshd, cloud-init, Docker and cephadm, the Ceph image inside.

One raw disk with an ext4 root in partition 1. It is what Shoal imports through XenAPI and what the lab then boots. A
real one has a kernel and a boot loader besides; nothing in here knows of the lab but the Ceph image's name.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.command import run
from lab.images import ceph
from lab.images.cache import cached, key
from lab.images.tree import bootstrap, disk_usage_bytes

SUITE = "trixie"
PACKAGES = (
    # No libpam-systemd: a login would wait for logind and a user manager, and in the lab the latter is slow to end.
    *("systemd", "systemd-sysv", "systemd-resolved", "dbus", "udev", "libnss-myhostname"),
    *("openssh-server", "cloud-init", "chrony", "sudo", "ca-certificates"),
    *("docker.io", "docker-cli", "iptables", "cephadm", "lvm2", "python3"),
    *("iproute2", "iputils-ping", "procps", "kmod", "gdisk", "less"),
)
FILES = {
    # cloud-init looks nowhere but on the config drive, and leaves root usable: cephadm works as root over SSH.
    "etc/cloud/cloud.cfg.d/90-shoal.cfg": "datasource_list: [NoCloud]\ndisable_root: false\n",
    "etc/docker/daemon.json": '{"log-driver": "local", "storage-driver": "overlay2"}\n',
    "etc/machine-id": "",  # each makes its own; "uninitialized" would also enable every unit that there is
    "etc/hostname": "storage-vm\n",
    "etc/fstab": "/dev/xvda1 / ext4 defaults 0 1\n",
}
# Nothing that wakes up by itself, and nothing that waits for what a storage VM has not.
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "systemd-networkd-wait-online.service", "lvm2-monitor.service", "getty@tty1.service"),
    "systemd-firstboot.service",  # would ask questions on the console
)
MIB = 1024**2
GUEST = Path(__file__).parent / "guest"
SCRIPT = GUEST / "import-ceph.sh"


def build(cache: Path) -> Path:
    """The raw disk image."""
    container = ceph.build(cache)
    recipe = {
        **{"suite": SUITE, "packages": PACKAGES, "files": FILES, "masked": MASKED, "make": 1},
        **{"ceph": container.name, "environment": ceph.ENVIRONMENT, "script": SCRIPT.read_text()},
    }
    return cached(cache, "storage-vm", recipe, lambda folder: _make(folder, container)) / "disk.img"


def _make(folder: Path, container: Path) -> None:
    tree = folder / "root"
    bootstrap(tree, suite=SUITE, packages=PACKAGES)
    _configure(tree)
    _import_ceph(tree, container)
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "tmp"):
        shutil.rmtree(tree / waste, ignore_errors=True)
    (tree / "tmp").mkdir(mode=0o1777)
    (tree / "tmp").chmod(0o1777)
    _make_disk(tree, folder / "disk.img")
    shutil.rmtree(tree)


def _configure(tree: Path) -> None:
    for name, text in FILES.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    for host_key in (tree / "etc/ssh").glob("ssh_host_*"):
        host_key.unlink()  # cloud-init makes each VM its own
    systemctl = ("systemctl", f"--root={tree}")
    run([*systemctl, "enable", "systemd-networkd", "systemd-resolved", "chrony", "docker", "ssh"], timeout_s=60)
    run([*systemctl, "mask", *MASKED], timeout_s=60)


def _import_ceph(tree: Path, container: Path) -> None:
    (tree / "ceph").mkdir()
    # A whole hierarchy of its own, else Docker finds its control groups read-only.
    nspawn = ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "systemd-nspawn", "--quiet", "--pipe", f"--directory={tree}"]
    nspawn += ["--register=no", "--keep-unit", "--private-network", "--capability=all", f"--machine={key(str(tree))}"]
    nspawn += [f"--bind-ro={container / 'root'}:/ceph", f"--bind-ro={SCRIPT}:/import-ceph.sh"]
    environment = [f"{name}={value}" for name, value in ceph.ENVIRONMENT.items()]
    run([*nspawn, "/bin/sh", "/import-ceph.sh", ceph.NAME, *environment], timeout_s=600)
    (tree / "import-ceph.sh").unlink()
    (tree / "ceph").rmdir()


def _make_disk(tree: Path, disk: Path) -> None:
    """The tree as an ext4 file system in the first partition of a sparse raw disk."""
    size = (disk_usage_bytes(tree) * 5 // 4 // MIB + 512) * MIB
    with disk.open("wb") as file:
        file.truncate(size)
    # DOS, not GPT: no second table at the end to move when the disk is made larger.
    run(["sfdisk", "--quiet", disk], input="label: dos\nstart=1MiB, type=83, bootable\n", timeout_s=30)
    ext4 = ("mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "1", "-E", f"offset={MIB},lazy_itable_init=1", "-d", tree)
    run([*ext4, disk, f"{(size - MIB) // 1024}k"], timeout_s=300)
