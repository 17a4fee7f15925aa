"""Commands that make a disk or snapshot of another one, or take one back to a snapshot. None of them copies data."""

import time

from . import records
from .errors import SnapshotFailed, SRError, VDIMissing, VDIType
from .names import is_uuid
from .vdi import describe, new_uuid


def vdi_snapshot(call):
    """Snapshot first, record second. Killed between the two, it shows up with the next scan, under its name.

    It holds what the disk held at one moment, also while a guest writes. xapi sets names and time again afterwards,
    and has them kept by a vdi_update.
    """
    if call.is_snapshot:
        raise SnapshotFailed("%s is a snapshot itself: take it of the disk or of a clone" % call.vdi_uuid)
    original = _read_whole(call)
    record = records.from_original(original, new_uuid())
    record.update(is_a_snapshot=True, snapshot_of=call.text("vdi_ref"), cbt_enabled=original["cbt_enabled"])
    record["snapshot_time"] = time.strftime("%Y%m%dT%H:%M:%SZ", time.gmtime())
    metadata = records.as_snapshot_metadata(record)
    if original["cbt_enabled"]:
        metadata["cbt"] = "true"
    with call.lock():
        snapshot = call.volumes.snapshot(call.vdi_uuid, record["uuid"], metadata)
        return _record(call, record, snapshot["location"], snapshot["size_bytes"])


def vdi_clone(call):
    """A new disk with the contents of a disk or snapshot. If that has too many ancestors, xapi copies it instead (38)."""
    original = _read_whole(call)
    record = records.from_original(original, new_uuid())
    with call.lock():
        if not call.is_snapshot and call.request.get("vdi_on_boot") != "reset":
            # xapi clones a disk when it is to be reset at boot from now on: to what it holds now, not to what an
            # earlier such time has left.
            call.volumes.drop_reset_point(call.vdi_uuid)
        volume = call.volumes.clone(record["uuid"], call.location, records.as_metadata(record))
        return _record(call, record, record["uuid"], volume["size_bytes"])


def vdi_revert(call):
    """Give a disk the contents of a snapshot (the call is about the snapshot). Takes the same time for any size."""
    target_ref = call.argument(0, "the disk to revert")
    snapshot = call.snapshot_location
    _read_whole(call)
    target = records.read(call, target_ref)
    if target["SR"] != call.sr_ref or not is_uuid(target["location"]):
        raise VDIMissing("%s is no disk of this SR" % target["uuid"])
    with call.lock():
        volume = call.volumes.revert(target["location"], snapshot)
        grown_bytes = volume["size_bytes"] - int(target["virtual_size"])
        if grown_bytes:
            records.set_size(call, target_ref, volume["size_bytes"])
            records.add_allocation(call, grown_bytes)


def _read_whole(call):
    """The record of what the call is about, which must still have its data."""
    record = records.read(call, call.text("vdi_ref"))
    if record["type"] == "cbt_metadata":
        raise VDIType("the data of snapshot %s was destroyed, only its changes can be listed" % call.vdi_uuid)
    return record


def _record(call, record, location, size_bytes):
    """Tell xapi of what was made, or unmake it."""
    record.update(location=location, size_bytes=size_bytes)
    try:
        records.introduce(call, record)
    except SRError:
        call.volumes.remove(location)
        raise
    records.add_allocation(call, size_bytes)
    return describe(record["uuid"], location)
