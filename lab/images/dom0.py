"""The hosts' image: Xen, a Debian dom0 with the real Xen tools, its disk. The same for every host.

A folder with `xen`, `vmlinux`, `initrd.img` (what QEMU boots) and `sda.img` (GPT, root area with the witness guest
in /boot/guest, free space). What makes a host itself comes from `lab.identity`.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from lab.command import run
from lab.images import kernel, witness
from lab.images.cache import cached
from lab.images.tree import bootstrap

SUITE = "bookworm"
PACKAGES = (
    *("systemd-sysv", "udev", "kmod", "procps", "iproute2", "iputils-ping", "ca-certificates", "curl"),
    *("openssh-server",),
    *("xen-hypervisor-4.17-amd64", "xen-utils-4.17", "linux-image-amd64", "tiny-initramfs"),
    *("python3", "gdisk", "fdisk", "parted", "lvm2", "chrony", "e2fsprogs", "dosfstools"),  # as on a real host
)
EXCLUDED = (
    *(f"/lib/modules/*/kernel/{folder}/*" for folder in ("sound", "drivers/gpu", "drivers/media", "drivers/iio")),
    *(f"/lib/modules/*/kernel/drivers/{folder}/*" for folder in ("net/ethernet", "net/wireless", "infiniband", "usb")),
    *(
        "/usr/lib/udev/hwdb.d/*",
        "/etc/kernel/*/initramfs-tools",
        "/usr/share/zoneinfo/*",
        "/usr/share/bash-completion/*",
    ),
)
# Kept, with what they need; the rest of the kernel's 4,000 modules goes.
BOOT_MODULES = ("virtio_pci", "virtio_scsi", "virtio_blk", "virtio_net", "sd_mod", "ext4")
MODULES = (
    *BOOT_MODULES,
    *("xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xen-blkback", "xen-blkfront"),
    *("rbd", "nbd", "loop", "dm-mod", "dm-snapshot", "dm-thin-pool", "dm-crypt", "vfat", "isofs"),
    *("nls_iso8859-1", "nls_cp437", "tcp_diag"),
    *("nls_utf8", "nls_ascii", "nf_tables", "nft_chain_nat", "bridge", "tun", "configfs", "crc32c_generic", "autofs4"),
    *("cbc", "ctr", "gcm", "ecb", "aesni-intel", "crc32c-intel", "ghash-clmulni-intel"),  # messenger v2, if ever secure
)
# Nothing here is needed on an emulated host, and each costs tenths of a second at every boot.
MASKED = (
    *("hwclock.service", "kmod.service", "procps.service", "getty@tty1.service", "systemd-pstore.service"),
    *("e2scrub_reap.service", "systemd-logind.service", "systemd-hwdb-update.service", "systemd-update-utmp.service"),
    *("systemd-update-utmp-runlevel.service", "systemd-ask-password-wall.path", "systemd-ask-password-console.path"),
    *("modprobe@.service", "getty-static.service", "systemd-user-sessions.service", "xendomains.service"),
    *("ldconfig.service", "systemd-machine-id-commit.service", "systemd-firstboot.service"),
    *("systemd-sysusers.service", "systemd-journal-flush.service", "systemd-journal-catalog-update.service"),
    *("systemd-update-done.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
    *("e2scrub_all.timer", "fstrim.timer", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"),
    *("dev-hugepages.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("sys-fs-fuse-connections.mount", "dev-mqueue.mount", "systemd-repart.service"),
    *("systemd-boot-system-token.service", "console-getty.service", "serial-getty@hvc0.service"),
    *("lvm2-monitor.service", "systemd-remount-fs.service", "systemd-random-seed.service"),
    *("systemd-network-generator.service", "blk-availability.service"),
    *("systemd-initctl.socket", "systemd-tmpfiles-clean.timer"),
)
GENERATORS_KEPT = ("systemd-fstab-generator",)
UDEV_RULES_KEPT = (
    *("50-udev-default.rules", "55-dm.rules", "56-lvm.rules", "60-block.rules", "60-persistent-storage*.rules"),
    *("10-dm.rules", "11-dm*.rules", "13-dm*.rules", "69-lvm.rules", "73-*", "75-net-description.rules"),
    *("80-drivers.rules",),
    *("95-dm-notify.rules", "99-systemd.rules", "80-net-setup-link.rules"),
)
ENABLED = {
    "multi-user.target.wants": ("xen-dom0.service", "lab-network.service"),
    "sockets.target.wants": ("toolstack-lan.socket", "toolstack-local.socket"),
}
FOLDERS = (
    "root/.ssh",
    "etc/lab",
    "boot/guest",
    "etc/xapi.conf.d",
    "etc/xapi.d/plugins",
    "var/lib/xcp",
    "var/log/journal",
)
OVERLAY = Path(__file__).with_name("dom0_root")

DISK_BYTES = 40 * 1024**3
ROOT_OFFSET_BYTES = 1024**2
ROOT_BYTES = 4 * 1024**3

INIT = """#!/bin/busybox sh
# Loads what the root disk needs, mounts it and hands over. No udev here: it would cost seconds. A module may refuse the
# CPU (the quick variants of crypto do); if one is really missing, the disk is, and the console says so.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
while read module; do /bin/busybox insmod "$module" 2>/dev/null; done < /modules
tries=0
until [ -b /dev/sda1 ] || [ "$tries" -ge 400 ]; do /bin/busybox usleep 50000; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o noatime /dev/sda1 /mnt || exec /bin/busybox sh
/bin/busybox umount /proc
/bin/busybox mount --move /dev /mnt/dev
exec /bin/busybox switch_root /mnt /sbin/init
"""


def build(cache: Path) -> Path:
    """The folder of the hosts' image."""
    files = {str(path.relative_to(OVERLAY)): path.read_text() for path in sorted(OVERLAY.rglob("*")) if path.is_file()}
    recipe = [
        SUITE,
        PACKAGES,
        EXCLUDED,
        MODULES,
        MASKED,
        GENERATORS_KEPT,
        UDEV_RULES_KEPT,
        ENABLED,
        FOLDERS,
        files,
        INIT,
        DISK_BYTES,
        ROOT_BYTES,
    ]
    return cached(cache, "dom0", [*recipe, witness.recipe(), 1], _make)


def _make(folder: Path) -> None:
    tree = folder / "tree"
    bootstrap(tree, suite=SUITE, packages=PACKAGES, exclude=EXCLUDED)
    (folder / "xen").write_bytes(gzip.decompress((tree / "boot/xen-4.17-amd64.gz").read_bytes()))
    (folder / "vmlinux").write_bytes(kernel.unpack(tree / f"boot/vmlinuz-{kernel.version(tree)}"))
    kernel.make_initrd(folder / "initrd.img", tree, init=INIT, modules=BOOT_MODULES, files=())
    _configure(tree)
    witness.install(tree, folder / "vmlinux")
    _keep_modules(tree, MODULES)
    _trim(tree)
    _make_disk(folder / "sda.img", tree)
    shutil.rmtree(tree)


def _configure(tree: Path) -> None:
    for path in FOLDERS:
        (tree / path).mkdir(parents=True, exist_ok=True)
    shutil.copytree(OVERLAY, tree, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".keep"))
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    for target, names in ENABLED.items():
        (units / target).mkdir(exist_ok=True)
        for name in names:
            (units / target / name).symlink_to(f"/etc/systemd/system/{name}")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (tree / "usr/bin/xe-toolstack-restart").symlink_to("/opt/xensource/bin/xe-toolstack-restart")
    for key in (tree / "etc/ssh").glob("ssh_host_*"):
        key.unlink()


def _keep_only(folder: Path, patterns: tuple[str, ...]) -> None:
    for path in folder.iterdir():
        if not any(path.match(pattern) for pattern in patterns):
            path.unlink()


def _keep_modules(tree: Path, names: tuple[str, ...]) -> None:
    kept = {tree / module for module in kernel.modules_with_dependencies(tree, names)}
    for module in (tree / "usr/lib/modules").rglob("*.ko"):
        if module not in kept:
            module.unlink()
    run(["depmod", "--basedir", tree, kernel.version(tree)], timeout_s=60)


def _trim(tree: Path) -> None:
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/perl", "usr/lib/udev/hwdb.bin"):
        path = tree / waste
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    _keep_only(tree / "usr/lib/systemd/system-generators", GENERATORS_KEPT)
    _keep_only(tree / "usr/lib/udev/rules.d", UDEV_RULES_KEPT)
    for packed in (tree / "boot").glob("*-amd64*"):
        packed.unlink()  # QEMU boots what lies beside the disk


def _make_disk(disk: Path, tree: Path) -> None:
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    first = ROOT_OFFSET_BYTES // 512
    last = first + ROOT_BYTES // 512 - 1
    run(["sgdisk", f"--new=1:{first}:{last}", "--change-name=1:root", "--typecode=1:8300", disk], timeout_s=30)
    options = f"offset={ROOT_OFFSET_BYTES},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, "-E", options, "-L", "dom0", disk, f"{ROOT_BYTES // 1024}k"],
        timeout_s=120,
    )
