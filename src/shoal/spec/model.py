"""WHAT IS WANTED: the spec's shape. pydantic at the border only; every model is frozen and knows no unknown key."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from shoal.kit.secret import Secret
from shoal.kit.sizes import GiB, parse_size
from shoal.spec.sources import read_endpoint, read_path, read_secret


def write_setting(value: object) -> str:
    """A value as `ceph config set` takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("a setting is one value; write a text, a number, true or false")


DISK_NUMBER_MAX = 24  # the storage VM has /dev/xvda to /dev/xvdz, and two of them for itself
Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$", max_length=63)]
CephName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # of a pool or an RBD namespace
Word = Annotated[StrictStr, Field(min_length=1)]
Setting = Annotated[str, BeforeValidator(write_setting)]
SecretSource = Annotated[Secret, BeforeValidator(read_secret)]
PathSource = Annotated[Path, BeforeValidator(read_path)]


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Pool(Model):
    url: Annotated[StrictStr, Field(pattern=r"^https://[^/\s]+/?$")]
    user: Word = "root"
    password: SecretSource
    fingerprint: Annotated[StrictStr, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None


class Ssh(Model):
    user: Word = "root"
    port: Annotated[StrictInt, Field(ge=1, le=65535)] = 22
    key_file: PathSource | None = None


class Lan(Model):
    bridge: Word
    cidr: IPv4Network
    gateway: IPv4Address | None = None


class Network(Model):
    public: Lan
    cluster: Lan | None = None
    ntp: tuple[Word, ...] = ()
    dns: tuple[IPv4Address, ...] = ()


class Disk(Model):
    device: Annotated[StrictStr, Field(pattern=r"^/dev/disk/by-(id|path)/\S+$")]
    use: Literal["free-space", "whole-disk"]
    size: Size | None = None
    wipe: StrictBool = False
    number: Annotated[StrictInt, Field(ge=1, le=DISK_NUMBER_MAX)] | None = None


class Address(Model):
    address: IPv4Address


class Host(Model):
    name: Name
    storage_vm: Address
    disks: Annotated[tuple[Disk, ...], Field(min_length=1)]

    @property
    def numbered_disks(self) -> tuple[tuple[int, Disk], ...]:
        """Each disk with its number, which its partition, its place in the storage VM and its OSD are found by."""
        return tuple((disk.number or place, disk) for place, disk in enumerate(self.disks, start=1))

    @property
    def disk_numbers(self) -> tuple[int, ...]:
        return tuple(number for number, _ in self.numbered_disks)


class SystemDisk(Model):
    sr: Word = "Local storage"
    size: Annotated[Size, Field(ge=2 * GiB)] = 20 * GiB


class StorageVm(Model):
    image: PathSource
    vcpus: Annotated[StrictInt, Field(ge=1, le=64)] = 2
    memory: Annotated[Size, Field(ge=GiB)] = 4 * GiB
    system_disk: SystemDisk = SystemDisk()


class ExistingCeph(Model):
    """A cluster that somebody else keeps: where it is, and what Shoal may do there."""

    fsid: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    monitors: Annotated[tuple[Annotated[str, BeforeValidator(read_endpoint(6789))], ...], Field(min_length=1)]
    user: Word = "shoal-xen"
    key: SecretSource
    volume_services: Annotated[tuple[Annotated[str, BeforeValidator(read_endpoint(7443))], ...], Field(min_length=1)]
    authority: PathSource


class Ceph(Model):
    image: Word
    version: Word | None = None
    replicas: Annotated[StrictInt, Field(ge=1, le=10)] = 3
    min_replicas: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    osd_method: Literal["lvm", "raw"] = "lvm"
    osd_memory: Size | None = None
    settings: dict[Word, Setting] = Field(default_factory=dict)
    existing: ExistingCeph | None = None


class Sr(Model):
    name: Word
    type: Literal["rbd", "lvm"]
    pool: CephName = "rbd"
    namespace: CephName | None = None
    data_pool: CephName | None = None
    image_size: Size | None = None
    default: StrictBool = False


# In place of what a spec for an existing cluster has not.
UNUSED_ADDRESS = IPv4Address("0.0.0.0")  # noqa: S104  nothing listens there
UNUSED_DISK = {"device": "/dev/disk/by-id/unused", "use": "whole-disk"}
UNUSED_HOST = {"storage_vm": {"address": str(UNUSED_ADDRESS)}, "disks": [UNUSED_DISK]}
UNUSED = {
    "network": {"public": {"bridge": "unused", "cidr": "0.0.0.0/0"}},
    "storage_vm": {"image": "unused"},
}


class Spec(Model):
    pool: Pool
    ssh: Ssh = Ssh()
    network: Network
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    storage_vm: StorageVm
    ceph: Ceph
    srs: Annotated[tuple[Sr, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _fill_unused(cls, values: object) -> object:
        """A cluster that is there already needs no storage VMs; nothing reads what stands in their place."""
        ceph = values.get("ceph") if isinstance(values, Mapping) else None
        if not isinstance(values, Mapping) or not isinstance(ceph, Mapping) or "existing" not in ceph:
            return values
        hosts = values.get("hosts")
        if isinstance(hosts, list | tuple):
            hosts = [{**UNUSED_HOST, **host} if isinstance(host, Mapping) else host for host in hosts]
        return {**UNUSED, **values, "hosts": hosts} if hosts is not None else {**UNUSED, **values}

    @property
    def lvm_srs(self) -> tuple[Sr, ...]:
        return tuple(sr for sr in self.srs if sr.type == "lvm")

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)
