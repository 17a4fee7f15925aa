"""What runs of a lab now, found out by looking; values for people and for scripts."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import host as hosts
from lab import network, power, storage_vm
from lab.command import NAMESPACES, recorded
from lab.topology import Host, Lab

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class HostStatus:
    name: str
    address: str
    power: str  # on, off
    dom0: str  # up, silent, off
    network: str  # plugged, cut
    toolstack: str  # answers, silent, off
    storage_vms: tuple[str, ...]  # uuids of those that run
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Status:
    dir: str
    network: bool
    hosts: tuple[HostStatus, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_up(self) -> bool:
        return self.network and all(host.dom0 == "up" and host.toolstack == "answers" for host in self.hosts)


def look(lab: Lab) -> Status:
    has_network = (NAMESPACES / lab.namespace).exists()
    return Status(str(lab.dir), has_network, tuple(_look_at(lab, host, has_network=has_network) for host in lab.hosts))


def _look_at(lab: Lab, host: Host, *, has_network: bool) -> HostStatus:
    qemu, toolstack = hosts.running(host), recorded(power.toolstack_pid(host))
    answers = has_network and toolstack is not None and power.answers(lab, host)
    is_cut = has_network and network.is_cut(lab, host)
    folders = sorted((host.dir / "vms").glob("*"))
    return HostStatus(
        name=host.name,
        address=host.address,
        power="on" if qemu else "off",
        dom0="off" if qemu is None else "up" if hosts.greets(lab, host) else "silent",
        network="cut" if is_cut else "plugged",
        toolstack="off" if toolstack is None else "answers" if answers else "silent",
        storage_vms=tuple(path.name for path in folders if storage_vm.is_running(lab, host, path.name)),
        memory_mib=sum(_resident_mib(daemon.pid) for daemon in (qemu, toolstack) if daemon),
    )


def _resident_mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES // 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0
