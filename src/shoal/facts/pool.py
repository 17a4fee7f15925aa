"""The pool as XenAPI tells it, and all facts together."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.facts.ceph import Ceph
from shoal.facts.host import Host
from shoal.facts.storage_vm import StorageVm


@dataclass(frozen=True, slots=True)
class Pbd:
    uuid: str
    host: str
    attached: bool
    device_config: dict[str, str]  # without secrets: xapi itself keeps only references to them


@dataclass(frozen=True, slots=True)
class Sr:
    uuid: str
    name: str
    type: str
    shared: bool
    pbds: tuple[Pbd, ...] = ()
    physical_size_bytes: int = 0
    physical_utilisation_bytes: int = 0
    other_config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Vdi:
    uuid: str
    name: str
    sr: str  # uuid of its SR
    location: str
    size_bytes: int
    other_config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SrUser:
    """A VM that runs, and an SR that it has a disk of attached."""

    vm: str  # name label
    host: str
    sr: str  # uuid


@dataclass(frozen=True, slots=True)
class Pool:
    uuid: str
    name: str
    master: str  # name of a host
    default_sr: str  # uuid or ""
    ha_enabled: bool
    networks: dict[str, str]  # bridge → network uuid
    sm_types: tuple[str, ...]  # types of SR that the toolstack knows now
    other_config: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()  # uuids


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was seen in one look. Pure values: `plan` needs nothing else but the spec."""

    pool: Pool
    hosts: tuple[Host, ...]
    srs: tuple[Sr, ...] = ()
    vdis: tuple[Vdi, ...] = ()
    storage_vms: tuple[StorageVm, ...] = ()
    sr_users: tuple[SrUser, ...] = ()
    ceph: Ceph | None = None
    seen_at: str = ""  # UTC, ISO 8601
    wanted_digests: dict[str, str] = field(default_factory=dict)
    """Of what Shoal would install now, read from its own files: "kit", "volume_service", "storage_vm_image"."""

    def host(self, name: str) -> Host | None:
        return next((host for host in self.hosts if host.name == name), None)

    def storage_vm(self, host: str) -> StorageVm | None:
        return next((vm for vm in self.storage_vms if vm.host == host), None)
