"""Commands that make, change and remove one disk. Mapping is in `attach`, copies are in `snapshots`."""

import os

from . import records
from .errors import InvalidArgument, SRError, VDISize
from .names import is_uuid

MIB = 1024 * 1024
SIZE_MAX_BYTES = 1 << 57  # 128 PiB; beyond, sums of sizes leave 63 bits soon


def vdi_create(call):
    """Image first, record second. Killed between the two, the disk shows up with the next scan, under its name."""
    size_bytes = _whole_mib(call.size(0))
    uuid = call.uuid("vdi_uuid") if call.request.get("vdi_uuid") else new_uuid()
    record = records.from_create(call, uuid, size_bytes)
    with call.lock():
        call.volumes.create(uuid, size_bytes, records.as_metadata(record))
        try:
            records.introduce_found(call, record)
        except SRError:
            if not call.request.get("vdi_uuid"):  # else the disk may be older than this call
                call.volumes.remove(uuid)
            raise
        records.add_allocation(call, size_bytes)
    return describe(uuid, uuid)


def vdi_delete(call):
    """Remove a disk or snapshot. Its snapshots and clones stay what they are."""
    size_bytes = records.recorded_size(call)
    with call.lock():
        call.volumes.remove(call.location)
        records.forget(call, call.text("vdi_ref"))
        records.add_allocation(call, -size_bytes)


def vdi_resize(call):
    """Grow, also while a guest uses the disk: Ceph tells the kernel that has it mapped. Shrinking is refused."""
    from . import tapctl

    size_bytes = _whole_mib(call.size(0))
    uuid, before = call.volume_uuid, records.recorded_size(call)
    with call.lock():
        call.volumes.resize(uuid, size_bytes)
        records.set_size(call, call.text("vdi_ref"), size_bytes)
        records.add_allocation(call, size_bytes - before)
    if tapctl.available():  # a tapdisk on this host has to be told
        from . import attach

        attach.refresh(call)
    return describe(uuid, uuid)


def vdi_introduce(call):
    """Tell xapi of a disk or snapshot that is in the pool. Its uuid is part of where it lies, so it keeps it."""
    uuid = call.vdi_uuid
    if call.request.get("new_uuid") not in (None, "", uuid):
        raise InvalidArgument("a disk of this SR keeps its uuid: introduce %s under it" % uuid)
    with call.lock():
        found = call.volumes.stat(call.location)
        if call.is_snapshot:
            record = records.from_snapshot(found, records.find(call, found["of"]))
        else:
            record = records.from_volume(found)
        records.introduce_found(call, record)
    return describe(uuid, call.location)


def vdi_update(call):
    """Keep what xapi says of it with the image, so that it outlives this pool's database."""
    record = records.read(call, call.text("vdi_ref"))
    metadata = records.as_snapshot_metadata(record) if call.is_snapshot else records.as_metadata(record)
    call.volumes.describe(call.location, metadata)


def describe(uuid, location):
    """What xapi wants to know of what was made."""
    return {"uuid": uuid, "location": location}


def new_uuid():
    """A random one; the uuid module costs more to import than the rest of a call's modules."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    text = "".join("%02x" % byte for byte in data)
    uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    assert is_uuid(uuid)
    return uuid


def _whole_mib(size_bytes):
    if not 0 < size_bytes <= SIZE_MAX_BYTES:
        raise VDISize("a disk has 1 byte to %d TiB, not %d bytes" % (SIZE_MAX_BYTES >> 40, size_bytes))
    return (size_bytes + MIB - 1) // MIB * MIB
