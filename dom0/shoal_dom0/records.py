"""xapi's records of an SR's disks, and the same facts as metadata in the images, from which records can be made again."""

from .errors import InvalidSecret
from .xapi import NULL, XenAPIError, ignore_gone, is_gone

NO_TIME = "19700101T00:00:00Z"
TEXT_MAX = 2000  # characters of a name kept with the image: at most 8000 bytes
_TIMES = ("00000000T00:00:00Z", "0000-00-00T00:00:00Z")  # their forms, each digit as 0
_DIGITS_AS_0 = str.maketrans("123456789", "0" * 9)
_BLANK = {
    "name_label": "",
    "name_description": "",
    "type": "user",
    "read_only": False,
    "sm_config": {},
    "metadata_of_pool": NULL,
    "is_a_snapshot": False,
    "snapshot_time": NO_TIME,
    "snapshot_of": NULL,
    "cbt_enabled": False,
}


def read_secret(call):
    """The hosts' CephX key. It goes to the kernel and nowhere else."""
    try:
        ref = call.xapi.call("secret.get_by_uuid", call.settings.password_secret)
        return call.xapi.call("secret.get_value", ref)
    except XenAPIError as error:
        raise InvalidSecret("secret %s: %s" % (call.settings.password_secret, error.failure[0]))


def read(call, ref):
    """xapi's record of a disk; an error if there is none."""
    return call.xapi.call("VDI.get_record", ref)


def from_create(call, uuid, size_bytes):
    """The record that a vdi_create asks for."""
    arguments = [call.argument(n, what) for n, what in enumerate(("size", "name", "description"))]
    rest = (call.request.get("args") or [])[3:] + [""] * 5
    return {
        "uuid": uuid,
        "location": uuid,
        "size_bytes": size_bytes,
        "name_label": arguments[1],
        "name_description": arguments[2],
        "type": call.request.get("vdi_type") or "user",
        "sm_config": call.request.get("vdi_sm_config") or {},
        "metadata_of_pool": rest[0] or NULL,
        "is_a_snapshot": rest[1] == "true",
        "snapshot_time": rest[2] or NO_TIME,
        "snapshot_of": rest[3] or NULL,
        "read_only": rest[4] == "true",
        "cbt_enabled": False,
    }


def from_original(original, uuid):
    """The record of a copy of a disk or snapshot, which can be written to. xapi gives it its own names afterwards."""
    kept = {name: original[name] for name in ("name_label", "name_description", "type")}
    return dict(_BLANK, uuid=uuid, location=uuid, **kept)


def from_volume(volume):
    """The record that an image found in the pool gets."""
    metadata = volume["metadata"]
    record = dict(_BLANK, uuid=volume["id"], location=volume["id"], size_bytes=volume["size_bytes"])
    for name in ("name_label", "name_description", "type"):
        record[name] = metadata.get(name, record[name])
    record["read_only"] = metadata.get("read_only") == "true"
    record["cbt_enabled"] = is_tracked(metadata)
    return record


def from_snapshot(snapshot, snapshot_of):
    """The record that a snapshot found in the pool gets; `snapshot_of` is the reference of the disk's record."""
    metadata = snapshot["metadata"]
    time = metadata.get("snapshot_time", "")
    record = dict(from_volume(snapshot), location=snapshot["location"], is_a_snapshot=True, snapshot_of=snapshot_of)
    record["snapshot_time"] = time if time.translate(_DIGITS_AS_0) in _TIMES else NO_TIME
    if metadata.get("data_destroyed") == "true":
        record["type"] = "cbt_metadata"
    return record


def is_tracked(metadata):
    return metadata.get("cbt") == "true"


def as_metadata(record):
    """What is kept with the image. `record` may be xapi's or one of those above."""
    return {
        "name_label": record["name_label"][:TEXT_MAX],
        "name_description": record["name_description"][:TEXT_MAX],
        "type": record["type"],
        "read_only": "true" if record["read_only"] else "false",
    }


def as_snapshot_metadata(record):
    return dict(as_metadata(record), snapshot_time=record["snapshot_time"])


def introduce(call, record):
    """Make the record; its reference."""
    return call.xapi.call(
        "VDI.db_introduce",
        record["uuid"],
        record["name_label"],
        record["name_description"],
        call.sr_ref,
        record["type"],
        False,  # sharable
        record["read_only"],
        {},  # other_config
        record["location"],
        {},  # xenstore_data
        record["sm_config"],
        True,  # managed
        str(record["size_bytes"]),
        "0",  # physical utilisation: counting it takes long
        record["metadata_of_pool"],
        record["is_a_snapshot"],
        record["snapshot_time"],
        record["snapshot_of"],
        record["cbt_enabled"],
    )


def introduce_found(call, record):
    """As `introduce`; a record that is there already is as good."""
    try:
        return introduce(call, record)
    except XenAPIError:
        ref = find(call, record["uuid"])
        if ref == NULL:
            raise
        return ref


def find(call, uuid):
    """The reference of a disk's record, NULL if it has none."""
    try:
        return call.xapi.call("VDI.get_by_uuid", uuid)
    except XenAPIError as error:
        if not is_gone(error):
            raise
        return NULL


def forget(call, ref):
    ignore_gone(call.xapi.call, "VDI.db_forget", ref)


def set_size(call, ref, size_bytes):
    ignore_gone(call.xapi.call, "VDI.set_virtual_size", ref, str(size_bytes))


def recorded_size(call):
    """What xapi believes the disk's size is; 0 when it has no record any more."""
    try:
        return int(call.xapi.call("VDI.get_virtual_size", call.text("vdi_ref")))
    except XenAPIError as error:
        if error.failure[0] != "HANDLE_INVALID":
            raise
        return 0


def add_allocation(call, difference_bytes):
    """Correct the SR's sum of disk sizes; the next scan counts anew."""
    if difference_bytes:
        allocated = int(call.xapi.call("SR.get_virtual_allocation", call.sr_ref)) + difference_bytes
        call.xapi.call("SR.set_virtual_allocation", call.sr_ref, str(max(0, allocated)))
