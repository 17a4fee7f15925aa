"""What Shoal calls the things that it makes: `plan`, `steps` and `observe` find them again by these names."""

from __future__ import annotations

import re

PARTITION_NAME_MAX = 32  # GPT has room for 36 characters; ".new" is added until a partition is complete
CEPH_CLUSTER = "cluster"
KERNEL_USER = "client.shoal-xen"  # krbd in dom0
VOLUMES_USER = "client.shoal-volumes"  # the volume service
VOLUME_SERVICE = "container.shoal-volumes"  # as the orchestrator names it
VOLUME_SERVICE_PORT = 7443
PASSTHROUGH_FOLDER = "/opt/shoal/disks"  # in dom0
IMAGE_NAME_MAX = 64
IMAGE_FEATURES = ("layering",)  # of an image that all hosts write to at once: no exclusive lock, see decision 0015
MAPS_FILE = "/etc/shoal/maps.json"  # in dom0: which images it maps at boot
MAPS_KEY_FILE = "/etc/shoal/maps.key"
CLIENTS_FILE = "/etc/shoal/volumes/clients.json"  # in a storage VM: whose certificates its volume service takes
DEFAULT_SR_BEFORE = "shoal:default-sr-before"  # pool's other_config: uuid of the default SR before Shoal's, or ""
AUTO_POWERON_BEFORE = "shoal:auto-poweron-before"  # its auto_poweron before Shoal's, or ""
LVM_FOLDERS = ("/etc/lvm", "/etc/lvm/master")  # of a member, and of the master of an SR


def storage_vm_name(host: str) -> str:
    """The storage VM's name in the pool, and its host name: so it is the name that Ceph knows it by, too."""
    return f"shoal-storage-{host}"


def client_name(host: str, uuid: str = "") -> str:
    """The common name of its dom0's certificate, 64 characters at most. Another installation is another client."""
    return f"{host[:27]} {uuid}" if uuid else host[:64]


def disk_name(host: str, number: int) -> str:
    """Name of the partition, of its link in dom0 and of its VDI. `number` counts the host's disks from 1."""
    return f"shoal-osd-{host}-{number}"


def host_of_disk(name: str) -> str:
    """The host that a disk of this name is of; "" for a name that is not Shoal's."""
    found = re.fullmatch(r"shoal-osd-(.+)-\d+", name)
    return found[1] if found else ""


def disk_target(host: str, number: int) -> str:
    """The target of this disk's actions, and the value of its VDI's other_config shoal:disk."""
    return f"{host}:{number}"


def guest_device(number: int) -> str:
    """The disk as the storage VM sees it: xvda is the system, xvdb the config drive, disk 1 is xvdc."""
    return f"/dev/xvd{chr(ord('b') + number)}"


def guest_disk_number(device: str) -> int | None:
    """The number of the disk that the storage VM calls so ("xvdc" is 1), None for its own and for others."""
    number = ord(device[3]) - ord("b") if re.fullmatch(r"xvd[a-z]", device) else 0
    return number if number > 0 else None


def position_in_guest(number: int) -> str:
    """The VBD's userdevice: 0 is the system disk, 1 the config drive."""
    return str(number + 1)


def retired_name(name: str) -> str:
    """What the partition of a disk is called once its OSD is gone: its data stay, and it is found no more."""
    return f"old-{name}"


def namespace_target(pool: str, namespace: str) -> str:
    """As Ceph's tools write it, "rbd/gold"."""
    return f"{pool}/{namespace}"


def system_disk_name(host: str) -> str:
    return f"{storage_vm_name(host)} system"


def passthrough_sr_name(host: str) -> str:
    return f"Shoal disks {host}"


def image_name(sr: str) -> str:
    """The RBD image that an SR of type lvm lies on. Each SR has a Ceph pool, so the name need not tell them apart."""
    slug = re.sub(r"[^a-z0-9]+", "-", sr.lower()).strip("-")
    return f"lvm-{slug or 'sr'}"[:IMAGE_NAME_MAX].rstrip("-")


def image_in_pool(pool: str, sr: str) -> str:
    """As Ceph's tools write it, "lvm/lvm-shoal-lvm"."""
    return f"{pool}/{image_name(sr)}"


def image_device(image: str) -> str:
    """Where every dom0 has an image of `image_in_pool`, once it is mapped."""
    return f"/dev/rbd/{image}"
