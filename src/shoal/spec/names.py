"""What Shoal calls the things that it makes: `plan`, `steps` and `observe` find them again by these names."""

from __future__ import annotations

PARTITION_NAME_MAX = 32  # GPT has room for 36 characters; ".new" is added until a partition is complete
CEPH_CLUSTER = "cluster"
KERNEL_USER = "client.shoal-xen"  # krbd in dom0
VOLUMES_USER = "client.shoal-volumes"  # the volume service
VOLUME_SERVICE = "container.shoal-volumes"  # as the orchestrator names it
VOLUME_SERVICE_PORT = 7443
PASSTHROUGH_FOLDER = "/opt/shoal/disks"  # in dom0


def storage_vm_name(host: str) -> str:
    """The storage VM's name in the pool, and its host name: so it is the name that Ceph knows it by, too."""
    return f"shoal-storage-{host}"


def disk_name(host: str, number: int) -> str:
    """Name of the partition, of its link in dom0 and of its VDI. `number` counts the host's disks from 1."""
    return f"shoal-osd-{host}-{number}"


def disk_target(host: str, number: int) -> str:
    """The target of this disk's actions, and the value of its VDI's other_config shoal:disk."""
    return f"{host}:{number}"


def guest_device(number: int) -> str:
    """The disk as the storage VM sees it: xvda is the system, xvdb the config drive, disk 1 is xvdc."""
    return f"/dev/xvd{chr(ord('b') + number)}"


def system_disk_name(host: str) -> str:
    return f"{storage_vm_name(host)} system"


def passthrough_sr_name(host: str) -> str:
    return f"Shoal disks {host}"
