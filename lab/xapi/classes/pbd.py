"""PBD: one host's way to one SR. Plugged, the SR is attached there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.xapi import sm
from lab.xapi.classes.secret import destroy_secrets, duplicate_secrets, move_passwords
from lab.xapi.failure import Failure
from lab.xapi.model import kind
from lab.xapi.records import check_record

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

BUILT_IN = frozenset({"ext", "udev"})

log = logging.getLogger(__name__)

PBD = kind(
    "PBD",
    """
    uuid                run  string                  -
    host                new  host ref                -
    SR                  new  SR ref                  -
    device_config       new  (string -> string) map  -
    currently_attached  run  bool                    -
    other_config        rw   (string -> string) map  {}
    """,
)


@PBD.call("PBD ref", args="PBD record")
def create(context: Context, args: dict[str, Any]) -> str:
    values = check_record(PBD, args)
    context.db.row("host", values["host"])
    context.db.row("SR", values["SR"])
    config = duplicate_secrets(context, move_passwords(context, values["device_config"]))
    return create_record(context, values["host"], values["SR"], config, values["other_config"])


def create_record(
    context: Context, host: str, sr: str, config: dict[str, str], other_config: dict[str, str] | None = None
) -> str:
    """A PBD's record; its secrets are its own by now."""
    if taken := context.db.where("PBD", host=host, SR=sr):
        raise Failure("PBD_EXISTS", sr, host, taken[0])
    _check_no_srmaster(config)
    return context.db.create(
        "PBD", {"host": host, "SR": sr, "device_config": config, "other_config": other_config or {}}
    )


def _check_no_srmaster(config: dict[str, str]) -> None:
    if "SRmaster" in config:
        raise Failure("VALUE_NOT_SUPPORTED", "SRmaster", config["SRmaster"], "This key is for internal use only")


def destroy_record(context: Context, pbd: str) -> None:
    config = context.db.get("PBD", pbd, "device_config")
    context.db.destroy("PBD", pbd)
    destroy_secrets(context, config)


@PBD.call(self="PBD ref")
def destroy(context: Context, self: str) -> None:
    if context.db.get("PBD", self, "currently_attached"):
        raise Failure("OPERATION_NOT_ALLOWED", "PBD is currently attached")
    destroy_record(context, self)


@contextmanager
def pretending_attached(context: Context, pbd: str) -> Iterator[None]:
    """Drivers expect the PBD to look attached while they create or delete its SR."""
    context.db.set("PBD", pbd, currently_attached=True)
    try:
        yield
    finally:
        context.db.set("PBD", pbd, currently_attached=False)


@PBD.call(self="PBD ref")
def plug(context: Context, self: str) -> None:
    row = context.db.row("PBD", self)
    if row["currently_attached"]:
        return
    sr = row["SR"]
    sr_type = context.db.get("SR", sr, "type")
    if not context.db.where("SM", type=sr_type):
        raise Failure("SR_UNKNOWN_DRIVER", sr_type)
    _check_sharing(context, sr, row["host"])
    sm.ask_sr(context, "sr_attach", sr, self)
    context.db.set("PBD", self, currently_attached=True)
    if not context.db.get("SR", sr, "shared") or row["host"] == sm.pool_master(context):
        _look_at(context, sr, self)


def _look_at(context: Context, sr: str, pbd: str) -> None:
    """xapi updates an SR after it was attached where its operations run. A refusal does not undo the plug.

    The scan that usually follows is the driver's own doing (SM's library has it done); built-in ones get it here.
    """
    sr_type = context.db.get("SR", sr, "type")
    try:
        if sm.has_feature(context, sr_type, "SR_UPDATE"):
            sm.take_figures(context, sr, sm.ask_sr(context, "sr_update", sr, pbd))
        if sr_type in BUILT_IN:
            with context.toolstack.storage_lock(sr):
                sm.take_scan(context, sr, sm.ask_sr(context, "sr_scan", sr, pbd))
    except Failure as failure:
        log.warning("SR %s was attached, but not looked at: %s", sr, failure)


def _check_sharing(context: Context, sr: str, host: str) -> None:
    if context.db.get("SR", sr, "shared"):
        return
    for ref in context.db.where("PBD", SR=sr, currently_attached=True):
        if (other := context.db.get("PBD", ref, "host")) != host:
            raise Failure("SR_NOT_SHARABLE", sr, other)


@PBD.call(self="PBD ref")
def unplug(context: Context, self: str) -> None:
    row = context.db.row("PBD", self)
    if not row["currently_attached"]:
        return
    if used := vdis_in_use(context, row["SR"], row["host"]):
        raise Failure("VDI_IN_USE", *used)
    sm.ask_sr(context, "sr_detach", row["SR"], self)
    context.db.set("PBD", self, currently_attached=False)


def vdis_in_use(context: Context, sr: str, host: str) -> list[str]:
    """The SR's VDIs that VMs on that host have attached."""
    used = []
    for vm in context.db.where("VM", resident_on=host):
        for vbd in context.db.get("VM", vm, "VBDs"):
            row = context.db.row("VBD", vbd)
            if row["currently_attached"] and not row["empty"] and context.db.get("VDI", row["VDI"], "SR") == sr:
                used.append(row["VDI"])
    return used


@PBD.call(self="PBD ref", value="(string -> string) map")
def set_device_config(context: Context, self: str, value: dict[str, str]) -> None:
    """For SM drivers alone: theirs is the session that xapi made for a command on this SR."""
    if "_sm_session" not in context.db.get("session", context.session, "other_config"):
        raise Failure("RBAC_PERMISSION_DENIED", "PBD.set_device_config", "only for SM drivers")
    _check_no_srmaster(value)
    context.db.set("PBD", self, device_config=move_passwords(context, value))
