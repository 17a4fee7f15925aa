"""What may be done to a VDI when: xapi's conditions, in xapi's order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi import sm
from lab.xapi.failure import Failure

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

FEATURES = {
    "snapshot": "VDI_SNAPSHOT", "clone": "VDI_CLONE", "destroy": "VDI_DELETE", "resize": "VDI_RESIZE",
    "resize_online": "VDI_RESIZE_ONLINE", "update": "VDI_UPDATE", "set_on_boot": "VDI_RESET_ON_BOOT",
    "revert_to": "VDI_CLONE", "revert_from": "VDI_CLONE",  # VDI_REVERT itself is asked of the SR
    "enable_cbt": "VDI_CONFIG_CBT", "disable_cbt": "VDI_CONFIG_CBT", "data_destroy": "VDI_CONFIG_CBT",
    "list_changed_blocks": "VDI_CONFIG_CBT",
}  # fmt: skip
LIVE = frozenset(
    {"snapshot", "resize_online", "clone", "revert_to", "enable_cbt", "disable_cbt", "data_destroy"}
)  # while VMs use it
WITHOUT_DATA = frozenset(
    {"data_destroy", "destroy", "list_changed_blocks", "forget", "update"}
)  # cbt_metadata may this
NO_RESET = frozenset({"snapshot", "copy", "enable_cbt", "disable_cbt"})  # not with on_boot=reset


def check(context: Context, vdi: str, operation: str) -> None:
    """Busy, not plugged, in use, its VBDs busy, not in the driver's features, not for this sort of VDI."""
    row = context.db.row("VDI", vdi)
    busy = [other for other in row["current_operations"].values() if other != "copy"]
    if busy:
        raise Failure("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi, busy[0])
    if operation == "resize" and not context.db.where("PBD", SR=row["SR"], currently_attached=True):
        raise Failure("SR_HAS_NO_PBDS", row["SR"])
    _check_vbds(context, vdi, row, operation)
    if operation in FEATURES:
        sm.require_feature(context, row["SR"], FEATURES[operation])
    if row["type"] == "cbt_metadata" and operation not in WITHOUT_DATA:
        raise Failure("VDI_INCOMPATIBLE_TYPE", vdi, "cbt_metadata")
    if row["cbt_enabled"] and operation == "set_on_boot":
        raise Failure("VDI_CBT_ENABLED", vdi)
    _check_sort(context, vdi, row, operation)


def _check_vbds(context: Context, vdi: str, row: dict[str, Any], operation: str) -> None:
    vbds = [context.db.row("VBD", ref) for ref in row["VBDs"]]
    active = [vbd for vbd in vbds if vbd["currently_attached"]]
    if operation == "copy":
        active = [vbd for vbd in active if vbd["mode"] == "RW"]
    if active and operation not in LIVE:
        raise Failure("VDI_IN_USE", vdi, operation)
    if operation != "data_destroy" and any(vbd["current_operations"] for vbd in vbds):
        raise Failure("OTHER_OPERATION_IN_PROGRESS", "VDI", vdi)


def _check_sort(context: Context, vdi: str, row: dict[str, Any], operation: str) -> None:
    """What depends on what the VDI is."""
    if operation in {"destroy", "revert_from", "data_destroy"}:
        _check_destruction(context, vdi, row, operation)
    if operation == "snapshot" and row["sharable"]:
        raise Failure("VDI_IS_SHARABLE", vdi)
    if operation == "revert_to" and not row["is_a_snapshot"]:
        raise Failure("ONLY_REVERT_SNAPSHOT")
    if operation in {"enable_cbt", "disable_cbt"}:
        if row["is_a_snapshot"]:
            raise Failure("OPERATION_NOT_ALLOWED", f"VDI is a snapshot: {vdi}")
        if row["type"] not in {"user", "system"}:
            raise Failure("VDI_INCOMPATIBLE_TYPE", vdi, row["type"])
    if operation in NO_RESET and row["on_boot"] == "reset":
        raise Failure("VDI_ON_BOOT_MODE_INCOMPATIBLE_WITH_OPERATION")
    if operation == "snapshot" and "copy" in row["current_operations"].values():
        raise Failure("OPERATION_NOT_ALLOWED", "Snapshot operation not allowed during copy.")


def _check_destruction(context: Context, vdi: str, row: dict[str, Any], operation: str) -> None:
    if operation == "data_destroy" and not row["is_a_snapshot"]:
        raise Failure("OPERATION_NOT_ALLOWED", f"VDI is not a snapshot: {vdi}")
    if operation == "data_destroy" and not row["cbt_enabled"]:
        raise Failure("VDI_NO_CBT_METADATA", vdi)
    if context.db.get("SR", row["SR"], "type") == "udev":
        raise Failure("VDI_IS_A_PHYSICAL_DEVICE", vdi)
