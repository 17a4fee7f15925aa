"""A VM's disks given to its host and taken back: vdi_attach, vdi_activate; vdi_deactivate, vdi_detach.

An epoch is a VM's run from start to shutdown or reboot: a disk with on_boot=reset begins each with its old content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi import sm
from lab.xapi.failure import Failure, internal_error

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

TIMEOUT_S = 300.0


def check_sharing(context: Context, vbd: str) -> None:
    """One writer, or any number of readers; a VDI marked sharable is its users' own affair."""
    row = context.db.row("VBD", vbd)
    if row["empty"]:
        return
    vdi = context.db.row("VDI", row["VDI"])
    if not vdi["managed"]:
        raise Failure("VDI_NOT_MANAGED", vbd)
    busy = [operation for operation in vdi["current_operations"].values() if operation != "copy"]
    if busy:
        raise Failure("OTHER_OPERATION_IN_PROGRESS", "VDI", row["VDI"], busy[0])
    if vdi["type"] == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", row["VDI"], "cbt_metadata")
    others = [context.db.row("VBD", ref) for ref in vdi["VBDs"] if ref != vbd]
    active = [other for other in others if other["currently_attached"] or other["current_operations"]]
    writes = row["mode"] == "RW"
    if not vdi["sharable"] and active and (writes or any(other["mode"] == "RW" for other in active)):
        raise Failure("VDI_IN_USE", row["VDI"])
    if writes and vdi["read_only"]:
        raise Failure("VDI_READONLY", row["VDI"])


def attach(context: Context, vbd: str, host: str) -> dict[str, Any]:
    """Attach and activate a VBD's disk on that host; the disk as the host's agent takes it."""
    row = context.db.row("VBD", vbd)
    vdi = context.db.row("VDI", row["VDI"])
    sr_type = context.db.get("SR", vdi["SR"], "type")
    writable = str(row["mode"] == "RW").lower()
    info = sm.ask_vdi(context, "vdi_attach", row["VDI"], host, writable)
    if not isinstance(info, dict) or not isinstance(info.get("params_nbd"), str):
        raise internal_error(f"{sr_type} answered vdi_attach without params_nbd")
    try:
        if sm.has_feature(context, sr_type, "VDI_ACTIVATE"):
            sm.ask_vdi(context, "vdi_activate", row["VDI"], host, writable)
    except Failure:
        sm.ask_vdi(context, "vdi_detach", row["VDI"], host)
        raise
    return {
        "userdevice": row["userdevice"],
        "sr_type": sr_type,
        "params": info.get("params", ""),
        "size_bytes": vdi["virtual_size"],
        "writable": row["mode"] == "RW",
    }


def detach(context: Context, vbd: str, host: str) -> None:
    """Deactivate and detach; idempotent in the driver."""
    deactivate(context, vbd, host)
    ask_detach(context, context.db.get("VBD", vbd, "VDI"), host)


def ask_detach(context: Context, vdi: str, host: str) -> None:
    sm.ask_vdi(context, "vdi_detach", vdi, host)


def deactivate(context: Context, vbd: str, host: str) -> None:
    """The half of it after which another host may have the disk."""
    vdi = context.db.get("VBD", vbd, "VDI")
    sr_type = context.db.get("SR", context.db.get("VDI", vdi, "SR"), "type")
    if sm.has_feature(context, sr_type, "VDI_DEACTIVATE"):
        sm.ask_vdi(context, "vdi_deactivate", vdi, host)


def begin_epoch(context: Context, vbd: str, host: str) -> None:
    """Asked for every disk at every start, whatever its on_boot: the driver knows what to do."""
    sm.ask_vdi(context, "vdi_epoch_begin", context.db.get("VBD", vbd, "VDI"), host)


def end_epoch(context: Context, vbd: str, host: str) -> None:
    sm.ask_vdi(context, "vdi_epoch_end", context.db.get("VBD", vbd, "VDI"), host)
