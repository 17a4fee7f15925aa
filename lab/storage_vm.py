"""Storage VMs run as system containers on the machine's own kernel: the lab's hypervisor for HVM guests.

A VM is a folder `vms/UUID` of its host: pid file, console log, where its root disk is mounted. It survives the process
that started it and is found again by any other. Must not know XenAPI, nor Ceph.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import cgroups, config_drive, loops, storage_vm_boot
from lab.command import NAMESPACES, CommandError, record, recorded, run, stop
from lab.command import start as start_daemon
from lab.loops import Range
from lab.topology import Host, Lab

MIB = 1024**2


def device_name(userdevice: str) -> str:
    """What the VM calls the disk at that place: "2" is xvdc."""
    return f"xvd{chr(ord('a') + int(userdevice))}"


@dataclass(frozen=True, slots=True)
class Vif:
    mac: str
    bridge: str


@dataclass(frozen=True, slots=True)
class Disk:
    """A range of a file. `userdevice` counts from "0", the disk with the root file system."""

    userdevice: str
    path: Path
    offset_bytes: int
    size_bytes: int
    writable: bool = True

    @property
    def name(self) -> str:
        return device_name(self.userdevice)


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    uuid: str
    name_label: str
    memory_bytes: int
    vcpus: int
    vifs: tuple[Vif, ...]
    disks: tuple[Disk, ...]


def start(lab: Lab, host: Host, vm: VirtualMachine) -> None:
    """Power on. Returns when the container runs, long before its system has booted. Idempotent."""
    if is_running(lab, host, vm.uuid):
        return
    _clear(lab, host, vm.uuid)  # what a killed one left
    folder = _folder(host, vm.uuid)
    (folder / "root").mkdir(parents=True, exist_ok=True)
    disks = {disk.userdevice: disk for disk in vm.disks}
    drives = [disk for disk in vm.disks if disk.userdevice != "0" and config_drive.is_config_drive(disk.path)]
    data = [disk for disk in vm.disks if disk.userdevice != "0" and disk not in drives]
    root = _root_range(disks["0"])
    _remember(folder, [root, *(_range(disk) for disk in data)])
    devices = {disk.name: loops.attach(_range(disk), writable=disk.writable) for disk in data}
    plan = storage_vm_boot.Plan(
        name=_machine(lab, vm.uuid),
        root=str(folder / "root"),
        device=str(loops.attach(root)),
        links={f"/dev/{name}": device.name for name, device in devices.items()},
        config_drives=[str(drive.path) for drive in drives],
        command=[str(word) for word in _command(lab, host, vm, tuple(devices.values()))],
    )
    (folder / "boot.json").write_text(json.dumps(asdict(plan)))
    _plug_network(lab, host, vm)
    _launch(lab, host, vm.uuid)


def _launch(lab: Lab, host: Host, uuid: str, *, timeout_s: float = 120) -> None:
    """Boot in a mount namespace of its own: a mount that others had copied would stay when the VM is gone."""
    folder = _folder(host, uuid)
    boot: list[str | Path] = ["unshare", "--mount", "--propagation=private", sys.executable]
    boot += ["-m", "lab.storage_vm_boot", folder]
    # Inside the VM's network already, so that its /sys shows its interfaces and not the machine's.
    pid = start_daemon(boot, namespace=_namespace(lab, host, uuid), log=folder / "console.log")
    record(folder / "nspawn.pid", pid)
    deadline = time.monotonic() + timeout_s
    while (daemon := recorded(folder / "nspawn.pid")) is not None and time.monotonic() < deadline:
        if Path(f"/proc/{daemon.pid}/comm").read_text().strip() == "systemd-nspawn":
            return
        time.sleep(0.02)
    said = (folder / "console.log").read_text(errors="replace")[-1000:]
    kill(lab, host, uuid)
    raise CommandError(f"storage VM {uuid} on {host.name} did not start: {said}")


def plug(lab: Lab, host: Host, uuid: str, disk: Disk) -> None:  # noqa: ARG001 (as the others)
    """Give a running VM one more disk: its node and name appear in /dev, as udev would make them. Idempotent."""
    folder = _folder(host, uuid)
    device = loops.attach(_range(disk), writable=disk.writable)
    _remember(folder, [*(one for one in _remembered(folder) if one != _range(disk)), _range(disk)])
    node = device.stat().st_rdev
    script = '[ -b "$1" ] || mknod -m 660 "$1" b "$2" "$3"; ln -sfn "${1##*/}" "/dev/$4"'
    words = [str(device), str(os.major(node)), str(os.minor(node)), disk.name]
    run([*_inside(folder), "sh", "-c", script, "sh", *words], timeout_s=20)


def unplug(lab: Lab, host: Host, uuid: str, userdevice: str) -> None:  # noqa: ARG001 (as the others)
    """Take a disk from a running VM. Fails while something there has it open. Idempotent."""
    folder, name = _folder(host, uuid), device_name(userdevice)
    target = run([*_inside(folder), "readlink", "-f", f"/dev/{name}"], timeout_s=20).stdout.strip()
    for one in _remembered(folder):
        if str(loops.find(one)) == target:
            loops.detach(one)
            _remember(folder, [other for other in _remembered(folder) if other != one])
    # What it booted with is a mount, what was plugged later a node.
    script = 'while mountpoint -q "$1"; do umount "$1"; done; rm -f "$2" "$1"'
    run([*_inside(folder), "sh", "-c", script, "sh", target, f"/dev/{name}"], timeout_s=20)


def _inside(folder: Path) -> list[str | Path]:
    """Runs a command in the VM's namespaces, which its first process has: of processes, too, for /proc/self's sake."""
    daemon = recorded(folder / "nspawn.pid")
    if daemon is None:
        raise CommandError(f"storage VM {folder.name} does not run")
    children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    if not children:
        raise CommandError(f"storage VM {folder.name} has not begun to boot")
    return ["nsenter", f"--target={children[0]}", "--mount", "--pid", "--root", "--wd"]


def shutdown(lab: Lab, host: Host, uuid: str, *, timeout_s: float = 60) -> None:
    """Ask the system to power off; after timeout_s take the power away."""
    stop(_folder(host, uuid) / "nspawn.pid", grace_s=timeout_s)
    _clear(lab, host, uuid)


def kill(lab: Lab, host: Host, uuid: str) -> None:
    """Power gone, at once."""
    stop(_folder(host, uuid) / "nspawn.pid")
    _clear(lab, host, uuid)


def kill_all(lab: Lab, host: Host) -> None:
    """The host's power is gone, and with it that of its storage VMs."""
    for uuid in _known(host):
        # First of all: as its processes end, the kernel would tell their peers so, and no dead machine does that.
        _unplug_network(lab, host, uuid)
        stop(_folder(host, uuid) / "nspawn.pid")
    for uuid in _known(host):
        _clear(lab, host, uuid)


def is_running(lab: Lab, host: Host, uuid: str) -> bool:  # noqa: ARG001 (as the others)
    return recorded(_folder(host, uuid) / "nspawn.pid") is not None


def addresses(lab: Lab, host: Host, uuid: str) -> dict[int, list[str]]:
    """The guest's IPv4 addresses by the number of its network interface."""
    namespace = _namespace(lab, host, uuid)
    if not (NAMESPACES / namespace).exists():
        return {}
    shown = json.loads(run(["ip", "-json", "-4", "address"], namespace=namespace, timeout_s=10).stdout)
    return {
        int(link["ifname"].removeprefix("eth")): [address["local"] for address in link["addr_info"]]
        for link in shown
        if link["ifname"].startswith("eth")
    }


def host_disks(host: Host) -> list[Range]:
    """What the host's storage VMs have of its own disks: what OSDs lie on."""
    ranges = (one for uuid in _known(host) for one in _remembered(_folder(host, uuid)))
    return [one for one in ranges if Path(one.path) in (host.disk, host.spare_disk)]


def namespaces(lab: Lab, host: Host) -> list[str]:
    """The network namespaces of the host's storage VMs."""
    return sorted(path.name for path in NAMESPACES.glob(f"{lab.namespace}-{host.name}-*"))


def ports(host: Host) -> str:
    """What the names of a host's storage VM ports on the lab's bridge begin with."""
    return f"vm{host.index}-"


def clean(lab: Lab) -> None:
    """End all storage VMs and remove whatever any of them left behind."""
    for host in lab.hosts:
        kill_all(lab, host)
    loops.detach_below(lab.dir)


def _known(host: Host) -> list[str]:
    return sorted(path.name for path in (host.dir / "vms").glob("*") if path.is_dir())


def _folder(host: Host, uuid: str) -> Path:
    return host.dir / "vms" / uuid


def _namespace(lab: Lab, host: Host, uuid: str) -> str:
    return f"{lab.namespace}-{host.name}-{uuid[:8]}"


def _machine(lab: Lab, uuid: str) -> str:
    return f"{lab.namespace}-{uuid[:8]}"


def _command(lab: Lab, host: Host, vm: VirtualMachine, devices: tuple[Path, ...]) -> list[str | Path]:
    # A whole control group hierarchy and its own network's settings to write to: Docker needs both.
    command: list[str | Path] = ["env", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"]
    command += ["systemd-nspawn", "--quiet", "--boot"]
    command += [f"--directory={_folder(host, vm.uuid) / 'root'}", f"--machine={_machine(lab, vm.uuid)}"]
    command += [f"--uuid={vm.uuid}", "--settings=no", "--register=no", "--keep-unit", "--console=pipe"]
    command += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    # As in a real guest, root may do anything: Docker, LVM and Ceph need most of it.
    command += ["--capability=all", "--system-call-filter=add_key keyctl bpf"]
    return command + [f"--bind={device}" for device in devices]


def _range(disk: Disk) -> Range:
    return Range(str(disk.path), disk.offset_bytes, disk.size_bytes)


def _root_range(disk: Disk) -> Range:
    """The system disk's first partition, made to fill the disk first, as cloud-init's growpart does in a real guest."""
    if disk.offset_bytes:
        raise CommandError(f"a system disk must be a file of its own, not a range of {disk.path}")
    begin, size_bytes = _first_partition(disk.path)
    if begin + size_bytes + MIB <= disk.path.stat().st_size:
        run(["sfdisk", "--quiet", "--no-reread", "-N", "1", disk.path], input=",+\n", timeout_s=30)
        begin, size_bytes = _first_partition(disk.path)
    return Range(str(disk.path), begin, size_bytes)


def _first_partition(disk: Path) -> tuple[int, int]:
    """Start and size in bytes."""
    table = json.loads(run(["sfdisk", "--json", disk], timeout_s=20).stdout)["partitiontable"]
    first = table["partitions"][0]
    return first["start"] * 512, first["size"] * 512


def _remember(folder: Path, ranges: list[Range]) -> None:
    (folder / "loops.json").write_text(json.dumps([asdict(one) for one in ranges]))


def _remembered(folder: Path) -> list[Range]:
    path = folder / "loops.json"
    return [Range(**one) for one in json.loads(path.read_text())] if path.exists() else []


def _plug_network(lab: Lab, host: Host, vm: VirtualMachine) -> None:
    namespace = _namespace(lab, host, vm.uuid)
    run(["ip", "netns", "add", namespace], timeout_s=10)
    for number, vif in enumerate(vm.vifs):
        port = f"{ports(host)}{vm.uuid[:6]}-{number}"
        pair = ["type", "veth", "peer", "name", f"eth{number}", "address", vif.mac, "netns", namespace]
        run(["ip", "link", "add", port, *pair], namespace=lab.namespace, timeout_s=10)
        run(["ip", "link", "set", port, "master", vif.bridge, "up"], namespace=lab.namespace, timeout_s=10)


def _ports(lab: Lab, host: Host, uuid: str) -> list[str]:
    shown = json.loads(run(["ip", "-json", "link", "show"], namespace=lab.namespace, timeout_s=10).stdout)
    return [link["ifname"] for link in shown if link["ifname"].startswith(f"{ports(host)}{uuid[:6]}-")]


def _unplug_network(lab: Lab, host: Host, uuid: str) -> None:
    """The VM's wires are gone, and what was under way in them. Idempotent."""
    if (NAMESPACES / _namespace(lab, host, uuid)).exists():
        for port in _ports(lab, host, uuid):
            run(["ip", "link", "delete", port], namespace=lab.namespace, timeout_s=10)


def _clear(lab: Lab, host: Host, uuid: str) -> None:
    """Remove what a stopped VM holds: processes that outlived it, its network, control groups and loop devices."""
    namespace = _namespace(lab, host, uuid)
    if (NAMESPACES / namespace).exists():
        _end_all_in(namespace)
        _unplug_network(lab, host, uuid)  # with the namespace it would go only some time later
        run(["ip", "netns", "delete", namespace], timeout_s=10)
    cgroups.remove(_machine(lab, uuid))
    for one in _remembered(_folder(host, uuid)):
        loops.detach(one)
    (_folder(host, uuid) / "loops.json").unlink(missing_ok=True)


def _end_all_in(namespace: str, *, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while pids := run(["ip", "netns", "pids", namespace], timeout_s=10).stdout.split():
        if time.monotonic() > deadline:
            raise CommandError(f"processes {', '.join(pids)} did not end within {timeout_s:g} s of SIGKILL")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
