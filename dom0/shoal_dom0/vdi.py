"""Commands that make, change and remove a disk. Mapping is in `attach`."""

import os

from . import locking, records
from .errors import InvalidArgument, SRError, VDISize
from .settings import UUID

MIB = 1024 * 1024
SIZE_MAX_BYTES = 1 << 57  # 128 PiB; beyond, sums of sizes leave 63 bits soon


def vdi_create(call):
    """Image first, record second. Killed between the two, the disk shows up with the next scan, under its name."""
    size_bytes = _whole_mib(call.size(0))
    uuid = call.uuid("vdi_uuid") if call.request.get("vdi_uuid") else _new_uuid()
    record = records.from_create(call, uuid, size_bytes)
    with locking.hold(call.sr_uuid, call.deadline):
        call.volumes.create(uuid, size_bytes, records.as_metadata(record))
        try:
            records.introduce(call, record)
        except SRError:
            call.volumes.remove(uuid)
            raise
    records.add_allocation(call, size_bytes)
    return _info(uuid)


def vdi_delete(call):
    size_bytes = records.recorded_size(call)
    with locking.hold(call.sr_uuid, call.deadline):
        call.volumes.remove(call.vdi_uuid)
        records.forget(call, call.text("vdi_ref"))
    records.add_allocation(call, -size_bytes)


def vdi_resize(call):
    """Grow. Shrinking is refused, and so is a disk that a host has mapped."""
    size_bytes = _whole_mib(call.size(0))
    before = records.recorded_size(call)
    with locking.hold(call.sr_uuid, call.deadline):
        call.volumes.resize(call.vdi_uuid, size_bytes)
        records.set_size(call, call.text("vdi_ref"), size_bytes)
    records.add_allocation(call, size_bytes - before)
    return _info(call.vdi_uuid)


def vdi_introduce(call):
    """Tell xapi of a disk that is in the pool. Its uuid is part of the image's name, so it cannot get another one."""
    uuid = call.vdi_uuid
    if call.request.get("new_uuid") not in (None, "", uuid):
        raise InvalidArgument("a disk of this SR keeps its uuid: introduce %s under it" % uuid)
    with locking.hold(call.sr_uuid, call.deadline):
        volume = call.volumes.stat(uuid)
        records.introduce_found(call, volume)
    return _info(uuid)


def vdi_update(call):
    """Keep name and description with the image, so that they outlive this pool's database."""
    call.volumes.describe(call.vdi_uuid, records.read_labels(call))


def _info(uuid):
    return {"uuid": uuid, "location": uuid}


def _whole_mib(size_bytes):
    if not 0 < size_bytes <= SIZE_MAX_BYTES:
        raise VDISize("a disk has 1 byte to %d TiB, not %d bytes" % (SIZE_MAX_BYTES >> 40, size_bytes))
    return (size_bytes + MIB - 1) // MIB * MIB


def _new_uuid():
    """A random one; the uuid module costs more to import than the rest of a call's modules."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    text = "".join("%02x" % byte for byte in data)
    uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    assert UUID.match(uuid)
    return uuid
