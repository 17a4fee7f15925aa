"""A host of the pool: what XenAPI says of it, and what its dom0 says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.facts.disk import Disk


@dataclass(frozen=True, slots=True)
class Kit:
    """What Shoal has installed in a dom0."""

    digest: str  # sha256 over all installed files of the kit; "" when there are none
    has_client_certificate: bool = False
    client: str = ""  # the common name of its client certificate; "" for one that is soon over
    certificate_authority: str = ""  # sha256 of the CA certificate that dom0 trusts for the volume services
    volume_service: str = ""  # /etc/shoal/host.json: this host's own volume service, "10.77.0.21:7443"
    keeper_runs: bool = False  # shoal-keeper.service is enabled and runs


@dataclass(frozen=True, slots=True)
class LvmConf:
    """A folder of LVM's configuration in a dom0."""

    folder: str  # "/etc/lvm/master"
    main: str  # lvm.conf without its comments
    local: str  # lvmlocal.conf as it is, which is read after it


@dataclass(frozen=True, slots=True)
class Maps:
    """The RBD images that a dom0 maps at every boot, and what of them is mapped now."""

    fsid: str = ""
    user: str = ""
    monitors: tuple[str, ...] = ()  # "10.77.0.21:6789"
    images: tuple[str, ...] = ()  # "lvm/lvm-shoal-lvm"
    has_key: bool = False
    is_enabled: bool = False  # the units that map at boot
    mapped: dict[str, str] = field(default_factory=dict)  # image → device, where its link is right


@dataclass(frozen=True, slots=True)
class Dom0:
    kernel: str  # "6.1.0-35-amd64"
    kit: Kit
    sm_plugins: tuple[str, ...]  # the whitelist in force at the toolstack's next start (last file wins)
    clock_skew_s: float  # dom0's clock minus ours
    disks: tuple[Disk, ...]
    passthrough_links: dict[str, str] = field(default_factory=dict)  # name in the passthrough SR's folder → target
    missing_tools: tuple[str, ...] = ()  # programs that Shoal needs and dom0 lacks
    has_rbd: bool = True  # the rbd module is loaded or can be
    lvm: tuple[LvmConf, ...] = ()
    maps: Maps = Maps()


@dataclass(frozen=True, slots=True)
class Host:
    """`dom0` is None when SSH failed; `unreachable` then says why."""

    name: str
    uuid: str
    address: str
    is_master: bool
    live: bool
    enabled: bool
    product: str  # "XCP-ng 8.3.0"
    memory_total_bytes: int
    memory_free_bytes: int
    dom0: Dom0 | None = None
    unreachable: str = ""
    toolstack_kit: str = ""  # other_config shoal:kit: digest of the kit that its toolstack was restarted with
    maintenance: str = ""  # other_config shoal:maintenance: Shoal's keeper, or a person, has it rest
    leaving: bool = False  # the mark says that its VMs are being moved away yet
    reboot_due: str = ""  # other_config shoal:reboot: the boot that `shoal host reboot` has still to end
