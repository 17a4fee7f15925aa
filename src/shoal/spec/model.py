"""WHAT IS WANTED: the spec's shape. pydantic at the border only; every model is frozen and knows no unknown key."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from shoal.kit.secret import Secret
from shoal.kit.sizes import GiB, parse_size
from shoal.spec.sources import read_path, read_secret


def write_setting(value: object) -> str:
    """A value as `ceph config set` takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("a setting is one value; write a text, a number, true or false")


Size = Annotated[int, BeforeValidator(parse_size)]
Name = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$", max_length=63)]
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
    device: Annotated[StrictStr, Field(pattern=r"^/dev/disk/by-(id|path|partuuid)/\S+$")]
    use: Literal["free-space", "whole-disk"]
    size: Size | None = None
    wipe: StrictBool = False


class Address(Model):
    address: IPv4Address


class Host(Model):
    name: Name
    storage_vm: Address
    disks: Annotated[tuple[Disk, ...], Field(min_length=1)]


class SystemDisk(Model):
    sr: Word = "Local storage"
    size: Annotated[Size, Field(ge=2 * GiB)] = 20 * GiB


class StorageVm(Model):
    image: PathSource
    vcpus: Annotated[StrictInt, Field(ge=1, le=64)] = 2
    memory: Annotated[Size, Field(ge=GiB)] = 4 * GiB
    system_disk: SystemDisk = SystemDisk()


class Ceph(Model):
    image: Word
    version: Word | None = None
    replicas: Annotated[StrictInt, Field(ge=1, le=10)] = 3
    min_replicas: Annotated[StrictInt, Field(ge=1, le=10)] = 2
    osd_method: Literal["lvm", "raw"] = "lvm"
    osd_memory: Size | None = None
    settings: dict[Word, Setting] = Field(default_factory=dict)


class Sr(Model):
    name: Word
    type: Literal["rbd", "lvm"]
    pool: Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "rbd"
    image_size: Size | None = None
    default: StrictBool = False


class Spec(Model):
    pool: Pool
    ssh: Ssh = Ssh()
    network: Network
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    storage_vm: StorageVm
    ceph: Ceph
    srs: Annotated[tuple[Sr, ...], Field(min_length=1)]

    @property
    def lvm_srs(self) -> tuple[Sr, ...]:
        return tuple(sr for sr in self.srs if sr.type == "lvm")

    def host(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)
