"""VDI: snapshot, clone, revert, copy. The driver makes the disk; xapi copies those fields that are its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lab.xapi import sm
from lab.xapi.classes.vdi import VDI, create, destroy
from lab.xapi.clock import now
from lab.xapi.copying import copy_content
from lab.xapi.failure import Failure
from lab.xapi.model import NULL
from lab.xapi.vdi_operations import check

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

COPIED = ("name_label", "name_description", "type", "sharable", "other_config", "xenstore_data", "on_boot",
          "allow_caching", "tags")  # fmt: skip
SM_CONFIG_KEPT = frozenset({"base_mirror"})

log = logging.getLogger(__name__)


def _take(context: Context, vdi: str, operation: str, params: dict[str, str]) -> str:
    """Have the driver do it, and finish the new record as xapi's two layers do. SM's own: sm_config, sizes."""
    row = context.db.row("VDI", vdi)
    if not row["managed"]:
        raise Failure("VDI_NOT_MANAGED", vdi)
    is_a_snapshot = operation == "snapshot"
    with context.operation("VDI", vdi, operation), context.toolstack.storage_lock(row["SR"]):
        info = sm.ask_vdi(context, f"vdi_{operation}", vdi, None, driver_params=params)
        made = sm.record_new_vdi(context, row["SR"], info, virtual_size=row["virtual_size"], type=row["type"])
        context.db.set(
            "VDI", made, name_label=row["name_label"], name_description=row["name_description"],
            snapshot_time=now(), is_a_snapshot=is_a_snapshot,
        )  # fmt: skip
        kept = {key: value for key, value in params.items() if key in SM_CONFIG_KEPT}
        if kept:
            context.db.set("VDI", made, sm_config={**context.db.get("VDI", made, "sm_config"), **kept})
        sm.ask_vdi(context, "vdi_update", made, None)
    context.db.set("VDI", made, **{name: row[name] for name in COPIED})
    return made


@VDI.call("VDI ref", vdi="VDI ref", driver_params="(string -> string) map")
def snapshot(context: Context, vdi: str, driver_params: dict[str, str] | None = None) -> str:
    check(context, vdi, "snapshot")
    try:
        made = _take(context, vdi, "snapshot", driver_params or {})
    except sm.Unimplemented as failure:
        raise Failure(failure.code, context.db.get("VDI", vdi, "SR")) from failure
    context.db.set("VDI", made, is_a_snapshot=True, snapshot_of=vdi)
    return made


@VDI.call("VDI ref", vdi="VDI ref", driver_params="(string -> string) map")
def clone(context: Context, vdi: str, driver_params: dict[str, str] | None = None) -> str:
    """A driver that says it clones and then answers that it does not (38), makes xapi copy the whole disk."""
    check(context, vdi, "clone")
    try:
        return _take(context, vdi, "clone", driver_params or {})
    except sm.Unimplemented:
        log.info("the driver does not clone %s: it is copied in full", vdi)
    row = context.db.row("VDI", vdi)
    made = create(context, _record(row, row["SR"], read_only=row["read_only"], tags=[]))
    return _fill(context, vdi, made, is_new=True)


@VDI.call(snapshot="VDI ref")
def revert(context: Context, snapshot: str) -> None:
    """Give the VDI that the snapshot is of the snapshot's content, in place. The request is about the snapshot.

    Since xapi 26.16 and 26.1.16: the frozen data model does not know it.
    """
    sr = context.db.get("VDI", snapshot, "SR")
    sm.require_feature(context, sr, "VDI_REVERT")
    check(context, snapshot, "revert_to")
    target = context.db.get("VDI", snapshot, "snapshot_of")
    check(context, target, "revert_from")  # HANDLE_INVALID if there is no such VDI any more
    try:
        with (
            context.operation("VDI", snapshot, "revert_to"),
            context.operation("VDI", target, "revert_from"),
            context.toolstack.storage_lock(sr),
        ):
            sm.ask_vdi(context, "vdi_revert", snapshot, None, target)
    except sm.Unimplemented as failure:
        raise Failure(failure.code, sr) from failure


@VDI.call("VDI ref", vdi="VDI ref", sr="SR ref", base_vdi="VDI ref", into_vdi="VDI ref")
def copy(context: Context, vdi: str, sr: str = NULL, base_vdi: str = NULL, into_vdi: str = NULL) -> str:
    """All of it, or what the base has not, into a fresh VDI of any SR or into one that is there."""
    check(context, vdi, "copy")
    row = context.db.row("VDI", vdi)
    if not row["managed"]:
        raise Failure("VDI_NOT_MANAGED", vdi)
    is_new = not context.db.exists("VDI", into_vdi)
    made = create(context, _record(row, sr, read_only=False, tags=row["tags"])) if is_new else into_vdi
    target = context.db.row("VDI", made)
    if target["read_only"]:
        raise Failure("VDI_READONLY", made)
    if target["virtual_size"] < row["virtual_size"]:
        raise Failure("VDI_TOO_SMALL", made, str(row["virtual_size"]))
    if is_new:
        context.db.set("VDI", made, allow_caching=row["allow_caching"])
    base = base_vdi if context.db.exists("VDI", base_vdi) else None
    with context.operation("VDI", vdi, "copy"):
        return _fill(context, vdi, made, base, is_new=is_new)


def _record(row: dict[str, object], sr: str, **more: object) -> dict[str, object]:
    names = ("name_label", "name_description", "virtual_size", "type", "sharable", "other_config", "xenstore_data")
    return {**{name: row[name] for name in names}, "SR": sr, "sm_config": {}, **more}


def _fill(context: Context, source: str, target: str, base: str | None = None, *, is_new: bool) -> str:
    """Copy the content; a new VDI goes again when that fails."""
    try:
        copy_content(context, source, target, base)
    except Failure:
        if is_new:
            destroy(context, target)
        raise
    return target
