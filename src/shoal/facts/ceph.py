"""The Ceph cluster, in the words that `ceph` itself uses."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mon:
    name: str
    address: str  # "10.77.0.21"
    v1_port: int | None  # None: the monitor does not offer messenger v1
    in_quorum: bool


@dataclass(frozen=True, slots=True)
class Mgr:
    name: str
    host: str
    active: bool


@dataclass(frozen=True, slots=True)
class Osd:
    id: int
    host: str
    up: bool
    in_cluster: bool
    partition_uuids: tuple[str, ...] = ()
    device: str = ""  # as the storage VM names it, "xvdc"
    uuid: str = ""
    destroyed: bool = False  # its data are gone; its id waits for another disk of this host
    size_bytes: int = 0
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CephHost:
    name: str
    address: str
    labels: tuple[str, ...] = ()
    status: str = ""


@dataclass(frozen=True, slots=True)
class CephPool:
    name: str
    size: int
    min_size: int
    applications: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None  # RBD's; None: not seen
    is_initialized: bool = False  # by `rbd pool init`, or by the first image


@dataclass(frozen=True, slots=True)
class CephImage:
    size_bytes: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ceph:
    """`is_bootstrapped` but no answer: `unreachable` says why and the lists are empty."""

    fsid: str
    health: str  # HEALTH_OK, HEALTH_WARN, HEALTH_ERR
    health_checks: tuple[str, ...] = ()  # Ceph's own summaries
    mons: tuple[Mon, ...] = ()
    mgrs: tuple[Mgr, ...] = ()
    hosts: tuple[CephHost, ...] = ()
    osds: tuple[Osd, ...] = ()
    pools: tuple[CephPool, ...] = ()
    images: dict[str, CephImage] = field(default_factory=dict)  # those that SRs of type lvm lie on, "pool/name" → image
    users: dict[str, dict[str, str]] = field(default_factory=dict)  # "client.shoal-xen" → caps
    settings: dict[str, str] = field(default_factory=dict)  # "section/name" → value, of `ceph config dump`
    services: dict[str, int] = field(default_factory=dict)  # orchestrator's service name → running daemons
    total_bytes: int = 0
    used_bytes: int = 0
    available_bytes: int = 0
    stored_bytes: int = 0  # what clients have written, each byte once
    nearfull_ratio: float = 0.85
    clean_pgs: int = 0
    pgs: int = 0
    noout_hosts: tuple[str, ...] = ()  # whose OSDs stay in the cluster however long they are down
    pg_states: dict[str, int] = field(default_factory=dict)  # "active+clean" → how many
    unreachable: str = ""
    certificate_authority: str = ""  # sha256 of the volume services' CA certificate (config-key shoal/ca.pem)
