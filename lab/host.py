"""A host: QEMU with Xen and its dom0. Powered on, powered off without warning, watched over its console.

Must not know the toolstack or the storage VMs; `lab.power` ends those with their host.
"""

from __future__ import annotations

import time
from pathlib import Path

from lab import network
from lab.accelerator import QEMU, arguments
from lab.command import CommandError, Daemon, end_unrecorded, record, recorded, start, stop
from lab.topology import Host, Lab

MEMORY_MIB = 768
DOM0_MIB = 480
SPARE_DISK_BYTES = 16 * 1024**3  # sparse
# Mitigations cost an emulated CPU more than all else in a PV dom0, and nothing else runs on it.
XEN_ARGUMENTS = f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus=1 com1=115200,8n1 console=com1 loglvl=error"
XEN_ARGUMENTS += " guest_loglvl=error spec-ctrl=no xpti=no"
KERNEL_ARGUMENTS = "console=hvc0 root=/dev/sda1 net.ifnames=0 quiet mitigations=off audit=0 nowatchdog"
KERNEL_ARGUMENTS += " systemd.show_status=auto systemd.gpt_auto=no rd.systemd.gpt_auto=no"


def pid_file(host: Host) -> Path:
    return host.dir / "qemu.pid"


def console_log(host: Host) -> Path:
    return host.dir / "console.log"


def console_socket(host: Host) -> Path:
    return host.dir / "console.sock"


def monitor_socket(host: Host) -> Path:
    """Where QEMU says what becomes of the machine."""
    return host.dir / "monitor.sock"


def running(host: Host) -> Daemon | None:
    return recorded(pid_file(host))


def boot(lab: Lab, host: Host, image: Path) -> None:
    """Switch the host on. It is up when `wait_until_up` says so. Nothing happens to one that is on."""
    end_unrecorded([_drive(host)], pid_file(host))
    if running(host):
        return
    if not host.spare_disk.exists():
        with host.spare_disk.open("xb") as spare:
            spare.truncate(SPARE_DISK_BYTES)
    if console_log(host).exists():
        console_log(host).replace(console_log(host).with_suffix(".log.1"))
    argv = qemu_arguments(host, image, arguments(image, lab.cache))
    pid = start(argv, namespace=lab.namespace, log=host.dir / "qemu.log")
    record(pid_file(host), pid)


def power_off(host: Host) -> None:
    """Cut the power, at once: what dom0 has not written is lost."""
    stop(pid_file(host))


def wait_until_up(lab: Lab, host: Host, *, timeout_s: float) -> None:
    """Wait until dom0's sshd says its name."""
    deadline = time.monotonic() + timeout_s
    while not greets(lab, host):
        if running(host) is None:
            raise CommandError(f"{host.name}: QEMU ended; see {host.dir / 'qemu.log'}:\n{_tail(host.dir / 'qemu.log')}")
        if time.monotonic() > deadline:
            raise CommandError(
                f"{host.name}: dom0 did not come up within {timeout_s:g} s; "
                f"its console is {console_log(host)}:\n{_tail(console_log(host))}"
            )
        time.sleep(0.3)


def greets(lab: Lab, host: Host) -> bool:
    """Whether dom0's sshd says its name over the channel."""
    try:
        with network.connect(lab, host.channel_dom0, 22, timeout_s=2.0) as wire:
            wire.settimeout(5.0)
            return wire.recv(64).startswith(b"SSH-")
    except (OSError, RuntimeError):
        return False


def qemu_arguments(host: Host, image: Path, accelerator: tuple[str, ...]) -> list[str]:
    modules = f"{image / 'vmlinux'} {KERNEL_ARGUMENTS},{image / 'initrd.img'}"
    return [
        *(QEMU, "-name", host.name, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "pc", *accelerator, "-smp", "1", "-m", str(MEMORY_MIB), "-rtc", "base=utc"),
        *("-kernel", str(image / "xen"), "-append", XEN_ARGUMENTS, "-initrd", modules),
        *("-drive", _drive(host)),
        *("-device", "virtio-scsi-pci,id=scsi"),
        *("-device", f"scsi-hd,bus=scsi.0,drive=sda,serial={host.disk_serial}"),
        *("-drive", f"file={host.spare_disk},format=raw,if=none,id=vda,cache=writeback,discard=unmap,aio=threads"),
        *("-device", f"virtio-blk-pci,drive=vda,serial={host.spare_disk_serial}"),
        *_nic("lan", host.tap, host.mac),
        *_nic("channel", host.channel_tap, host.channel_mac),
        *("-chardev", f"socket,id=console,path={console_socket(host)},server=on,wait=off,logfile={console_log(host)}"),
        *("-serial", "chardev:console"),
        *("-qmp", f"unix:{monitor_socket(host)},server=on,wait=off"),
    ]


def _drive(host: Host) -> str:
    return f"file={host.disk},format=raw,if=none,id=sda,cache=writeback,discard=unmap,aio=threads"


def _nic(name: str, tap: str, mac: str) -> list[str]:
    return [
        *("-netdev", f"tap,id={name},ifname={tap},script=no,downscript=no,vhost=off"),
        *("-device", f"virtio-net-pci,netdev={name},mac={mac},romfile="),
    ]


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(it is empty)"
