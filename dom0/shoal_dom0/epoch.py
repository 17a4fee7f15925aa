"""What a VM's start means to its disks: one that is to be reset at boot goes back to its reset point.

xapi says this before every start, for every disk, with VDI.on_boot in the request.
"""

from . import records


def vdi_epoch_begin(call):
    """Go back to the reset point, made of what the disk holds at the first such start.

    A disk that is not to be reset keeps what it has from here on, so a point that it still has is of no use any more.
    """
    if call.is_snapshot:
        return
    if call.request.get("vdi_on_boot") != "reset":
        call.volumes.drop_reset_point(call.vdi_uuid)
        return
    with call.lock():
        volume = call.volumes.reset(call.vdi_uuid)
    if volume["size_bytes"] != records.recorded_size(call):
        records.set_size(call, call.text("vdi_ref"), volume["size_bytes"])


def vdi_epoch_end(_):
    """Nothing: what was written is dropped at the next start, so that it can be looked at until then."""
