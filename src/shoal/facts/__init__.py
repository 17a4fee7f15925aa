"""WHAT IS: pure values, made by `observe`, read by `plan`. No I/O and no XenAPI or Ceph wire formats here.

`None` for a whole part (no `ceph`, a host with no `dom0`) means "not there or not reachable"; the reason is beside it.
"""

from shoal.facts.ceph import Ceph, CephHost, CephImage, CephPool, Mgr, Mon, Osd
from shoal.facts.disk import Disk, Partition, Range
from shoal.facts.host import Dom0, Host, Kit, LvmConf, Maps
from shoal.facts.maintenance import Maintenance, OrdinaryVm
from shoal.facts.pool import Facts, Pbd, Pool, Sr, SrUser, Vdi
from shoal.facts.remains import Marked, OwnVm, Remains
from shoal.facts.storage_vm import Guest, StorageVm
from shoal.facts.virtual_disk import DiskUser, LocalFile, VirtualDisk, VirtualDisks

__all__ = [
    "Ceph",
    "CephHost",
    "CephImage",
    "CephPool",
    "Disk",
    "DiskUser",
    "Dom0",
    "Facts",
    "Guest",
    "Host",
    "Kit",
    "LocalFile",
    "LvmConf",
    "Maintenance",
    "Maps",
    "Marked",
    "Mgr",
    "Mon",
    "OrdinaryVm",
    "Osd",
    "OwnVm",
    "Partition",
    "Pbd",
    "Pool",
    "Range",
    "Remains",
    "Sr",
    "SrUser",
    "StorageVm",
    "Vdi",
    "VirtualDisk",
    "VirtualDisks",
]
