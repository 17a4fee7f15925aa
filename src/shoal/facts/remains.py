"""What of Shoal is in a pool, whatever the spec says now: found by marks, names and paths that only Shoal uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shoal.facts.host import Host
from shoal.facts.pool import Pool
from shoal.facts.virtual_disk import VirtualDisks


@dataclass(frozen=True, slots=True)
class OwnVm:
    """A VM with Shoal's mark."""

    uuid: str
    name: str
    host: str  # whose storage VM it is
    power_state: str


@dataclass(frozen=True, slots=True)
class Marked:
    """A record of the pool with keys `shoal:…` in its other_config."""

    kind: str  # "VM", "host", …
    name: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remains:
    pool: Pool
    hosts: tuple[Host, ...]
    disks: VirtualDisks
    storage_vms: tuple[OwnVm, ...] = ()
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # host → Shoal's paths that are in its dom0
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # host → Shoal's units that are active there
    marked: tuple[Marked, ...] = ()
    ssh_keys: int = 0  # secrets with Shoal's mark
    alerts: int = 0  # messages of the keeper's

    def host(self, name: str) -> Host | None:
        return next((host for host in self.hosts if host.name == name), None)
