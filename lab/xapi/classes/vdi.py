"""VDI: disks. A driver makes them and, by hidden calls, their records; only one thing happens to a VDI at a time."""

from __future__ import annotations

import uuid as uuids
from typing import TYPE_CHECKING, Any

from lab.xapi import sm
from lab.xapi.failure import Failure
from lab.xapi.model import NEVER, NULL, kind
from lab.xapi.records import check_record, serve_setters
from lab.xapi.vdi_operations import check

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

VDI = kind(
    "VDI",
    """
    uuid                  run  string                               -
    name_label            new  string                               ""
    name_description      new  string                               ""
    allowed_operations    run  enum vdi_operations set              {}
    current_operations    run  (string -> enum vdi_operations) map  {}
    SR                    new  SR ref                               -
    VBDs                  run  VBD ref set                          <- VDI
    virtual_size          new  int                                  -
    physical_utilisation  run  int                                  -
    type                  new  enum vdi_type                        -
    sharable              new  bool                                 -
    read_only             new  bool                                 -
    other_config          rw   (string -> string) map               -
    storage_lock          run  bool                                 -
    location              run  string                               ""
    managed               run  bool                                 -
    missing               run  bool                                 -
    parent                run  VDI ref                              -
    xenstore_data         rw   (string -> string) map               {}
    sm_config             rw   (string -> string) map               {}
    is_a_snapshot         run  bool                                 false
    snapshot_of           run  VDI ref                              Null
    snapshots             run  VDI ref set                          <- snapshot_of
    snapshot_time         run  datetime                             19700101T00:00:00Z
    tags                  rw   string set                           {}
    allow_caching         run  bool                                 false
    on_boot               run  enum on_boot                         persist
    metadata_of_pool      run  pool ref                             OpaqueRef:NULL
    metadata_latest       run  bool                                 false
    is_tools_iso          run  bool                                 false
    cbt_enabled           run  bool                                 false
    """,
)

serve_setters(VDI, "read_only", "sharable", "allow_caching")
serve_setters(
    VDI, "managed", "missing", "virtual_size", "physical_utilisation", "is_a_snapshot", "snapshot_of",
    "snapshot_time", "metadata_of_pool", "cbt_enabled", hidden=True,
)  # fmt: skip


@VDI.call("VDI ref", args="VDI record")
def create(context: Context, args: dict[str, Any]) -> str:
    values = check_record(VDI, args)
    sr = values["SR"]
    context.db.row("SR", sr)
    sm.require_feature(context, sr, "VDI_CREATE")
    if values["type"] == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata")
    pbd = sm.plugged_pbd(context, sr)
    given = [str(values["virtual_size"]), values["name_label"], values["name_description"], "", "false", NEVER, "",
             str(values["read_only"]).lower()]  # fmt: skip
    with context.toolstack.storage_lock(sr):
        info = sm.ask_sr(
            context, "vdi_create", sr, pbd, *given, vdi_sm_config=values["sm_config"], vdi_type=values["type"]
        )
        known = {name: values[name] for name in ("name_label", "name_description", "type", "sm_config", "read_only")}
        vdi = sm.record_new_vdi(context, sr, info, virtual_size=values["virtual_size"], **known)
    above = {name: values[name] for name in ("other_config", "xenstore_data", "sharable", "tags")}
    context.db.set("VDI", vdi, **above)
    return vdi


@VDI.call(self="VDI ref")
def destroy(context: Context, self: str) -> None:
    check(context, self, "destroy")
    sr = context.db.get("VDI", self, "SR")
    with context.operation("VDI", self, "destroy"), context.toolstack.storage_lock(sr):
        vbds = context.db.get("VDI", self, "VBDs")
        sm.ask_vdi(context, "vdi_delete", self, None)
        if context.db.exists("VDI", self):
            context.db.destroy("VDI", self)
        for vbd in vbds:
            context.db.destroy("VBD", vbd)


@VDI.call(vdi="VDI ref")
def forget(context: Context, vdi: str) -> None:
    check(context, vdi, "forget")
    for vbd in context.db.get("VDI", vdi, "VBDs"):
        context.db.destroy("VBD", vbd)
    context.db.destroy("VDI", vdi)


@VDI.call(vdi="VDI ref")
def update(context: Context, vdi: str) -> None:
    check(context, vdi, "update")
    sm.ask_vdi(context, "vdi_update", vdi, None)


@VDI.call(vdi="VDI ref", size="int")
def resize(context: Context, vdi: str, size: int) -> None:
    _resize(context, vdi, size, "resize")


@VDI.call(vdi="VDI ref", size="int")
def resize_online(context: Context, vdi: str, size: int) -> None:
    """Also while a VM uses it. The model has it as removed, and real xapi answers MESSAGE_REMOVED.

    The lab serves it as releases before 7.3 did: without it nobody could ask a driver to grow a disk in use.
    """
    _resize(context, vdi, size, "resize_online")


def _resize(context: Context, vdi: str, size: int, operation: str) -> None:
    check(context, vdi, operation)
    sr = context.db.get("VDI", vdi, "SR")
    with context.operation("VDI", vdi, operation), context.toolstack.storage_lock(sr):
        info = sm.ask_vdi(context, "vdi_resize", vdi, None, str(size))  # SM has one command for both
        if "virtual_size" in info:
            context.db.set("VDI", vdi, virtual_size=int(info["virtual_size"]))


INTRODUCED: dict[str, Any] = {
    "uuid": "string", "name_label": "string", "name_description": "string", "SR": "SR ref", "type": "enum vdi_type",
    "sharable": "bool", "read_only": "bool", "other_config": "(string -> string) map", "location": "string",
    "xenstore_data": "(string -> string) map", "sm_config": "(string -> string) map", "managed": "bool",
    "virtual_size": "int", "physical_utilisation": "int", "metadata_of_pool": "pool ref", "is_a_snapshot": "bool",
    "snapshot_time": "datetime", "snapshot_of": "VDI ref",
}  # fmt: skip


@VDI.call("VDI ref", **INTRODUCED)
def introduce(
    context: Context,
    uuid: str,
    name_label: str,
    name_description: str,
    sr: str,
    type_: str,
    sharable: bool,  # noqa: FBT001  XenAPI's order
    read_only: bool,  # noqa: FBT001
    other_config: dict[str, str],
    location: str,
    xenstore_data: dict[str, str],
    sm_config: dict[str, str],
    managed: bool = True,  # noqa: ARG001, FBT001, FBT002
    *_: Any,
) -> str:
    """A VDI that the storage has and the pool does not know; the driver says what it is: a snapshot, for one."""
    pbd = sm.plugged_pbd(context, sr)
    for known in context.db.where("VDI", SR=sr, location=location):
        if context.db.get("VDI", known, "uuid") != uuid:
            raise Failure("LOCATION_NOT_UNIQUE", sr, location)
    members = {"vdi_location": location, "vdi_sm_config": sm_config, "new_uuid": uuid}
    info = sm.ask_sr(context, "vdi_introduce", sr, pbd, **members)
    vdi = sm.record_new_vdi(context, sr, info, type=type_, read_only=read_only)
    values: dict[str, Any] = {"other_config": other_config, "xenstore_data": xenstore_data, "sharable": sharable}
    names = {"name_label": name_label, "name_description": name_description}
    context.db.set("VDI", vdi, type=type_, **values, **{name: value for name, value in names.items() if value})
    return vdi


@VDI.call("VDI ref", hidden=True, **INTRODUCED, cbt_enabled="bool")
def db_introduce(context: Context, *values: Any) -> str:
    """The record alone: how a driver tells of a VDI."""
    record = dict(zip((*INTRODUCED, "cbt_enabled"), values, strict=False))
    context.db.row("SR", record["SR"])
    if context.db.where("VDI", SR=record["SR"], location=record["location"]):
        raise Failure("LOCATION_NOT_UNIQUE", record["SR"], record["location"])
    try:
        record["uuid"] = str(uuids.UUID(record["uuid"]))
    except ValueError:
        raise Failure("UUID_INVALID", "VDI", record["uuid"]) from None
    record["snapshot_of"] = record.get("snapshot_of") or NULL
    return context.db.create("VDI", record)


@VDI.call(hidden=True, vdi="VDI ref")
def db_forget(context: Context, vdi: str) -> None:
    context.db.destroy("VDI", vdi)


def _rename(context: Context, vdi: str, **values: str) -> None:
    """A name is told to the storage, too, where it keeps names."""
    context.db.set("VDI", vdi, **values)
    sr = context.db.get("VDI", vdi, "SR")
    plugged = context.db.where("PBD", SR=sr, currently_attached=True)
    if plugged and sm.has_feature(context, context.db.get("SR", sr, "type"), "VDI_UPDATE"):
        sm.ask_vdi(context, "vdi_update", vdi, None)


@VDI.call(self="VDI ref", value="string")
def set_name_label(context: Context, self: str, value: str) -> None:
    _rename(context, self, name_label=value)


@VDI.call(self="VDI ref", value="string")
def set_name_description(context: Context, self: str, value: str) -> None:
    _rename(context, self, name_description=value)
