"""xapi's records of an SR's disks, and the same facts as metadata in the images, from which records can be made again."""

from .errors import InvalidSecret
from .xapi import NULL, XenAPIError, ignore_gone

NO_TIME = "19700101T00:00:00Z"
TEXT_MAX = 2000  # characters of a name kept with the image: at most 8000 bytes


def read_secret(call):
    """The hosts' CephX key. It goes to the kernel and nowhere else."""
    try:
        ref = call.xapi.call("secret.get_by_uuid", call.settings.password_secret)
        return call.xapi.call("secret.get_value", ref)
    except XenAPIError as error:
        raise InvalidSecret("secret %s: %s" % (call.settings.password_secret, error.failure[0]))


def read_all(call):
    """uuid → ref and size of every record of this SR."""
    found = call.xapi.call("VDI.get_all_records_where", 'field "SR" = "%s"' % call.sr_ref)
    return {
        record["location"]: {"ref": ref, "size_bytes": int(record["virtual_size"])}
        for ref, record in found.items()
        if record["SR"] == call.sr_ref
    }


def from_create(call, uuid, size_bytes):
    """The record that a vdi_create asks for."""
    arguments = [call.argument(n, what) for n, what in enumerate(("size", "name", "description"))]
    rest = (call.request.get("args") or [])[3:] + [""] * 5
    return {
        "uuid": uuid,
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
    }


def from_volume(volume):
    """The record that an image found in the pool gets."""
    metadata = volume["metadata"]
    return {
        "uuid": volume["id"],
        "size_bytes": volume["size_bytes"],
        "name_label": metadata.get("name_label", ""),
        "name_description": metadata.get("name_description", ""),
        "type": metadata.get("type", "user"),
        "sm_config": {},
        "metadata_of_pool": NULL,
        "is_a_snapshot": False,
        "snapshot_time": NO_TIME,
        "snapshot_of": NULL,
        "read_only": metadata.get("read_only") == "true",
    }


def as_metadata(record):
    return {
        "name_label": record["name_label"][:TEXT_MAX],
        "name_description": record["name_description"][:TEXT_MAX],
        "type": record["type"],
        "read_only": "true" if record["read_only"] else "false",
    }


def introduce(call, record):
    call.xapi.call(
        "VDI.db_introduce",
        record["uuid"],
        record["name_label"],
        record["name_description"],
        call.sr_ref,
        record["type"],
        False,  # sharable
        record["read_only"],
        {},  # other_config
        record["uuid"],  # location
        {},  # xenstore_data
        record["sm_config"],
        True,  # managed
        str(record["size_bytes"]),
        "0",  # physical utilisation: a new image takes no space
        record["metadata_of_pool"],
        record["is_a_snapshot"],
        record["snapshot_time"],
        record["snapshot_of"],
        False,  # cbt_enabled
    )


def introduce_found(call, volume):
    """A record for an image that has none; one that was made meanwhile is as good."""
    try:
        call.xapi.call("VDI.get_by_uuid", volume["id"])
    except XenAPIError as error:
        if error.failure[0] not in ("UUID_INVALID", "HANDLE_INVALID"):
            raise
        introduce(call, from_volume(volume))


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


def read_labels(call):
    ref = call.text("vdi_ref")
    names = ("name_label", "name_description")
    return {name: call.xapi.call("VDI.get_" + name, ref)[:TEXT_MAX] for name in names}


def add_allocation(call, difference_bytes):
    """Correct the SR's sum of disk sizes; the next scan counts anew."""
    allocated = int(call.xapi.call("SR.get_virtual_allocation", call.sr_ref)) + difference_bytes
    call.xapi.call("SR.set_virtual_allocation", call.sr_ref, str(max(0, allocated)))
