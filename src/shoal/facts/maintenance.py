"""What must be known to take a host out of service, or back: the pool's hosts, the VMs on them, and Ceph."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.facts.ceph import Ceph
from shoal.facts.host import Host
from shoal.facts.pool import Sr
from shoal.facts.storage_vm import StorageVm


@dataclass(frozen=True, slots=True)
class OrdinaryVm:
    """A VM that is no storage VM, template, snapshot or control domain."""

    uuid: str
    name: str
    power_state: str  # XenAPI's: "Running", "Halted", …
    host: str  # name of the host that it is on, or ""
    cannot_move: str = ""  # what keeps the toolstack from moving it; asked only for hosts that shall be left
    home: str = ""  # other_config shoal:home: name of the host that Shoal took it from


@dataclass(frozen=True, slots=True)
class Maintenance:
    """All that was seen in one look. No `ceph`: somebody else keeps the cluster, or there is none."""

    hosts: tuple[Host, ...]
    srs: tuple[Sr, ...]
    storage_vms: tuple[StorageVm, ...]
    vms: tuple[OrdinaryVm, ...] = ()
    ceph: Ceph | None = None
    ha_enabled: bool = False
    boots: dict[str, str] = field(default_factory=dict)  # host → id of its dom0's boot; missing: it does not answer

    def host(self, name: str) -> Host | None:
        return next((host for host in self.hosts if host.name == name), None)

    def storage_vm(self, host: str) -> StorageVm | None:
        return next((vm for vm in self.storage_vms if vm.host == host), None)
