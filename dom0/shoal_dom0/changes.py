"""Changed blocks, for backups. Ceph itself knows what was written between two snapshots, so nothing has to be tracked:
switched on or off is only whether it may be asked.
"""

from . import records
from .errors import ChangedBlocksFailed


def vdi_enable_cbt(call):
    call.volumes.describe(call.volume_uuid, {"cbt": "true"})


def vdi_disable_cbt(call):
    call.volumes.describe(call.volume_uuid, {"cbt": None})


def vdi_data_destroy(call):
    """The snapshot stays a point to count changes from and cannot be read any more. Ceph needs it whole for that."""
    call.volumes.describe(call.snapshot_location, {"data_destroyed": "true"})


def vdi_list_changed_blocks(call):
    """A bit for each 64 KiB that differs, as base64. The call is about the older one, its argument names the newer."""
    older = records.read(call, call.text("vdi_ref"))
    newer = records.read(call, call.argument(0, "the newer disk or snapshot"))
    if older["uuid"] == newer["uuid"]:
        raise ChangedBlocksFailed("%s cannot be compared with itself" % older["uuid"])
    if not call.is_snapshot:
        raise ChangedBlocksFailed("%s is a disk: changes are counted from a snapshot" % older["uuid"])
    for record in (older, newer):
        if not record["cbt_enabled"]:
            raise ChangedBlocksFailed("changed block tracking is off for %s" % record["uuid"])
    return call.volumes.changes(call.location, newer["location"], int(newer["virtual_size"]))["bitmap"]
