"""VDI: what becomes of its content when a VM starts (on_boot), and which blocks of it have changed (CBT)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.xapi import sm
from lab.xapi.classes.vdi import VDI
from lab.xapi.failure import Failure, internal_error
from lab.xapi.vdi_operations import check

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

VBDS_GO_WITHIN_S = 4.0
NO_CONTENT = "/No content: this is a cbt_metadata VDI/"


def _require_plugged(context: Context, vdi: str) -> str:
    """The VDI's SR, if its operations can run."""
    sr = str(context.db.get("VDI", vdi, "SR"))
    sm.plugged_pbd(context, sr)
    return sr


@VDI.call(self="VDI ref", value="enum on_boot")
def set_on_boot(context: Context, self: str, value: str) -> None:
    """To `reset`, xapi has the driver clone the disk and delete the clone: SM's files get an empty leaf by that."""
    check(context, self, "set_on_boot")
    sr = _require_plugged(context, self)
    with context.operation("VDI", self, "set_on_boot"), context.toolstack.storage_lock(sr):
        if value == "reset":
            row = context.db.row("VDI", self)
            info = sm.ask_vdi(context, "vdi_clone", self, None, driver_params={})
            made = sm.record_new_vdi(context, sr, info, virtual_size=row["virtual_size"], type=row["type"])
            sm.ask_vdi(context, "vdi_delete", made, None)
            if context.db.exists("VDI", made):
                context.db.destroy("VDI", made)
        context.db.set("VDI", self, on_boot=value)


@VDI.call(self="VDI ref")
def enable_cbt(context: Context, self: str) -> None:
    _change_cbt(context, self, "enable_cbt", enabled=True)


@VDI.call(self="VDI ref")
def disable_cbt(context: Context, self: str) -> None:
    _change_cbt(context, self, "disable_cbt", enabled=False)


def _change_cbt(context: Context, vdi: str, operation: str, *, enabled: bool) -> None:
    check(context, vdi, operation)
    if context.db.get("VDI", vdi, "cbt_enabled") == enabled:
        return
    sr = _require_plugged(context, vdi)
    with context.operation("VDI", vdi, operation), context.toolstack.storage_lock(sr):
        sm.ask_vdi(context, f"vdi_{operation}", vdi, None)
        context.db.set("VDI", vdi, cbt_enabled=enabled)


@VDI.call(self="VDI ref")
def data_destroy(context: Context, self: str) -> None:
    """Lose a snapshot's data and keep what is known of its changed blocks. Its VBDs have 4 s to go."""
    if context.db.get("VDI", self, "type") == "cbt_metadata":
        check(context, self, "data_destroy")
        return
    check(context, self, "data_destroy")
    sr = _require_plugged(context, self)
    before = context.db.get("VDI", self, "type")
    context.db.set("VDI", self, type="cbt_metadata")  # no new VBD gets it meanwhile
    try:
        _wait_for_vbds(context, self)
        with context.operation("VDI", self, "data_destroy"), context.toolstack.storage_lock(sr):
            sm.ask_vdi(context, "vdi_data_destroy", self, None)
    except Failure:
        context.db.set("VDI", self, type=before)
        raise
    context.db.set("VDI", self, other_config={**context.db.get("VDI", self, "other_config"), "content_id": NO_CONTENT})


def _wait_for_vbds(context: Context, vdi: str) -> None:
    deadline = time.monotonic() + VBDS_GO_WITHIN_S
    while context.db.get("VDI", vdi, "VBDs"):
        if time.monotonic() > deadline:
            raise Failure("VDI_IN_USE", vdi, "data_destroy")
        time.sleep(0.1)


@VDI.call("string", vdi_from="VDI ref", vdi_to="VDI ref")
def list_changed_blocks(context: Context, vdi_from: str, vdi_to: str) -> str:
    """Base64 of a bitmap, a bit for each 64 KiB. The driver is asked about `vdi_from`."""
    check(context, vdi_to, "list_changed_blocks")
    if context.db.get("VDI", vdi_from, "SR") != context.db.get("VDI", vdi_to, "SR"):
        raise internal_error(f"Storage_interface.Vdis_on_different_srs({vdi_from}, {vdi_to})")
    sr = _require_plugged(context, vdi_to)
    with context.operation("VDI", vdi_to, "list_changed_blocks"), context.toolstack.storage_lock(sr):
        return str(sm.ask_vdi(context, "vdi_list_changed_blocks", vdi_from, None, vdi_to))
