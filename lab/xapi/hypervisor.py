"""A host's running VMs. HVM guests are the lab's storage VMs, on the machine's own kernel; PV guests are real Xen's.

The host's side: it is told all it must know of a VM (`Plan`), and knows nothing of the pool.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab import storage_vm
from lab.storage_vm import device_name
from lab.topology import Host, Lab
from lab.xapi.dom0 import Dom0, find
from lab.xapi.failure import Failure, internal_error

XL_TIMEOUT_S = 180.0
MIB = 1024**2
SAVE_TIMEOUT_S = 600.0
IMMOBILE = "the lab's HVM guests are containers: they cannot be migrated"
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk as it is given to a guest. `params` is what the SM driver's vdi_attach said."""

    userdevice: str
    sr_type: str
    params: str
    size_bytes: int
    writable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A VM to be started."""

    uuid: str
    name_label: str
    hvm: bool
    memory_bytes: int
    vcpus: int
    kernel: str
    ramdisk: str
    kernel_args: str
    vifs: tuple[tuple[str, str], ...]  # MAC and bridge
    disks: tuple[Disk, ...]

    @staticmethod
    def parse(plain: dict[str, Any]) -> Plan:
        """From what came over the wire."""
        disks = tuple(Disk(**disk) for disk in plain["disks"])
        vifs = tuple((mac, bridge) for mac, bridge in plain["vifs"])
        return Plan(**{**plain, "disks": disks, "vifs": vifs})


class Guests(Protocol):
    """Guests of one sort on one host. VMs are known by uuid."""

    def start(self, plan: Plan) -> int:
        """Start a VM; its domain id."""

    def shutdown(self, uuid: str, *, timeout_s: float) -> bool:
        """Ask it to shut down; whether it did in time."""

    def destroy(self, uuid: str) -> None:
        """Take its power away. Idempotent."""

    def running(self) -> dict[str, int]:
        """uuid and domain id of those that run."""

    def networks(self) -> dict[str, dict[str, str]]:
        """What running guests say of their addresses: uuid → "0/ip" → address, as VM_guest_metrics has it."""

    def plug(self, uuid: str, disk: Disk) -> None:
        """Give a running VM one more disk."""

    def unplug(self, uuid: str, userdevice: str) -> None:
        """Take a disk from a running VM."""

    def save(self, uuid: str, file: str) -> None:
        """Its memory into a file of dom0. It has ended then, and its disks are closed; if that fails it runs on."""

    def restore(self, plan: Plan, file: str) -> int:
        """Go on from such a file, with the plan's disks; its domain id."""


class StorageVms:
    """HVM guests: system containers, by `lab.storage_vm`."""

    def __init__(self, lab: Lab, host: Host, dom0: Dom0) -> None:
        self._lab, self._host, self._dom0 = lab, host, dom0

    def start(self, plan: Plan) -> int:
        vm = storage_vm.VirtualMachine(
            uuid=plan.uuid,
            name_label=plan.name_label,
            memory_bytes=plan.memory_bytes,
            vcpus=plan.vcpus,
            vifs=tuple(storage_vm.Vif(mac, bridge) for mac, bridge in plan.vifs),
            disks=tuple(self._locate(disk) for disk in plan.disks),
        )
        storage_vm.start(self._lab, self._host, vm)
        return pseudo_domain(plan.uuid)

    def _locate(self, disk: Disk) -> storage_vm.Disk:
        """Where a disk's bytes are on the machine: a file of its own, or a range of one of the host's disks."""
        if disk.sr_type == "ext":
            path, offset, size = Path(disk.params), 0, disk.size_bytes
        elif disk.sr_type == "udev":
            device = find(self._dom0, disk.params)
            images = {"sda": self._host.disk, "vda": self._host.spare_disk}
            if device is None or device.name[:3] not in images:
                raise Failure("VDI_MISSING", disk.params)
            path, offset, size = images[device.name[:3]], device.start_bytes, device.size_bytes
        else:
            raise internal_error(f"the lab's HVM guests take disks from ext and udev only, not from {disk.sr_type}")
        return storage_vm.Disk(disk.userdevice, path, offset, size, disk.writable)

    def shutdown(self, uuid: str, *, timeout_s: float) -> bool:
        storage_vm.shutdown(self._lab, self._host, uuid, timeout_s=timeout_s)
        return not storage_vm.is_running(self._lab, self._host, uuid)

    def destroy(self, uuid: str) -> None:
        storage_vm.kill(self._lab, self._host, uuid)

    def running(self) -> dict[str, int]:
        known = [folder.name for folder in (self._host.dir / "vms").glob("*") if folder.is_dir()]
        alive = [own for own in known if storage_vm.is_running(self._lab, self._host, own)]
        return {own: pseudo_domain(own) for own in alive}

    def networks(self) -> dict[str, dict[str, str]]:
        return {
            own: {
                f"{device}/ip": addresses[0]
                for device, addresses in storage_vm.addresses(self._lab, self._host, own).items()
                if addresses
            }
            for own in self.running()
        }

    def plug(self, uuid: str, disk: Disk) -> None:
        storage_vm.plug(self._lab, self._host, uuid, self._locate(disk))

    def unplug(self, uuid: str, userdevice: str) -> None:
        storage_vm.unplug(self._lab, self._host, uuid, userdevice)

    def save(self, uuid: str, file: str) -> None:  # noqa: ARG002
        raise internal_error(IMMOBILE)

    def restore(self, plan: Plan, file: str) -> int:  # noqa: ARG002
        raise internal_error(IMMOBILE)


def pseudo_domain(uuid: str) -> int:
    """A container has no domain id; clients see a number that is always the same."""
    return 1000 + int(uuid.replace("-", "")[:4], 16)


class XenGuests:
    """PV guests: `xl` in dom0."""

    def __init__(self, dom0: Dom0) -> None:
        self._dom0 = dom0
        self._lock = threading.Lock()

    def start(self, plan: Plan) -> int:
        return self._begin(plan, "create")

    def restore(self, plan: Plan, file: str) -> int:
        return self._begin(plan, "restore", file)

    def _begin(self, plan: Plan, verb: str, *more: str) -> int:
        config = f"/var/run/lab-vm-{plan.uuid}.cfg"
        self._dom0.write(config, xl_config(plan))
        with self._lock:
            done = self._dom0.run(["xl", verb, config, *more], timeout_s=XL_TIMEOUT_S)
        if done.code != 0:
            raise internal_error(f"xl {verb}: {done.stderr.strip() or done.stdout.strip()}")
        domains = self.running()
        if plan.uuid not in domains:
            raise internal_error("the domain ended right after it was started")
        return domains[plan.uuid]

    def shutdown(self, uuid: str, *, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        if (domain := self.running().get(uuid)) is None:
            return True
        self._dom0.run(["xl", "shutdown", "-F", str(domain)], timeout_s=XL_TIMEOUT_S)
        while time.monotonic() < deadline:
            if uuid not in self.running():
                return True
            time.sleep(POLL_S)
        return False

    def destroy(self, uuid: str) -> None:
        if (domain := self.running().get(uuid)) is not None:
            done = self._dom0.run(["xl", "destroy", str(domain)], timeout_s=XL_TIMEOUT_S)
            if done.code != 0 and uuid in self.running():
                raise internal_error(f"xl destroy: {done.stderr.strip()}")

    def save(self, uuid: str, file: str) -> None:
        """Debian's Xen cannot follow which pages a PV guest writes, so `xl migrate` of one that runs is refused."""
        domain, limit_s = str(self._domain(uuid)), int(SAVE_TIMEOUT_S)
        script = 'mkdir -p "${3%/*}" && exec timeout --kill-after=10 "$1" xl save "$2" "$3"'
        argv = ["sh", "-c", script, "sh", str(limit_s), domain, file]
        done = self._dom0.run(argv, timeout_s=limit_s + XL_TIMEOUT_S)
        if done.code != 0:
            raise internal_error(f"xl save: {done.stderr.strip()[-1000:] or done.code}")

    def running(self) -> dict[str, int]:
        found = self._dom0.run(["xl", "vm-list"], timeout_s=XL_TIMEOUT_S)
        if found.code != 0:
            raise OSError(f"xl vm-list in {self._dom0.name}'s dom0: {found.stderr.strip()}")
        rows = [line.split() for line in found.stdout.splitlines()[1:]]
        return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1] != "0"}

    def networks(self) -> dict[str, dict[str, str]]:
        return {}  # the lab's PV guests have no agent

    def plug(self, uuid: str, disk: Disk) -> None:
        self._xl_disk(["block-attach", str(self._domain(uuid)), disk_line(disk)])

    def unplug(self, uuid: str, userdevice: str) -> None:
        self._xl_disk(["block-detach", str(self._domain(uuid)), device_name(userdevice)])

    def _domain(self, uuid: str) -> int:
        if (domain := self.running().get(uuid)) is None:
            raise internal_error(f"{uuid} has no domain")
        return domain

    def _xl_disk(self, words: list[str]) -> None:
        done = self._dom0.run(["xl", *words], timeout_s=XL_TIMEOUT_S)
        if done.code != 0:
            raise internal_error(f"xl {words[0]}: {done.stderr.strip()}")


def disk_line(disk: Disk) -> str:
    access = "w" if disk.writable else "r"
    return f"vdev={device_name(disk.userdevice)},access={access},script=block-lab,target={disk.params}"


def xl_config(plan: Plan) -> str:
    """The guest as xl reads it. The kernel's blkback takes the device itself, as `backend-kind=vbd` asks of xapi."""
    name = plan.name_label if SAFE_NAME.fullmatch(plan.name_label) else plan.uuid
    lines = {
        "name": name,
        "uuid": plan.uuid,
        "type": "pv",
        "kernel": plan.kernel,
        "memory": plan.memory_bytes // MIB,
        "vcpus": plan.vcpus,
        "disk": [disk_line(disk) for disk in plan.disks],
        "vif": [f"mac={mac},bridge={bridge}" for mac, bridge in plan.vifs],
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "destroy",
    }
    if plan.ramdisk:
        lines["ramdisk"] = plan.ramdisk
    if plan.kernel_args:
        lines["extra"] = plan.kernel_args
    return "".join(f"{key} = {value!r}\n" for key, value in lines.items())
