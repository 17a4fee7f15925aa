"""VM: snapshot, clone, copy, revert. Its disks first, then its record, VBDs and VIFs; what fails leaves nothing."""

from __future__ import annotations

import json
import logging
import uuid as uuids
from typing import TYPE_CHECKING, Any

from lab.xapi import power
from lab.xapi.classes import vbd as vbds
from lab.xapi.classes import vdi as vdis
from lab.xapi.classes import vdi_copies as disks
from lab.xapi.classes.vif import new_mac
from lab.xapi.classes.vm import VM, create_halted
from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import KINDS, NULL

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

OWNER = "owner"  # in a VBD's other_config: who destroys this VM with its disks, destroys this disk
EPOCH_HINT = "epochhint"
# Never copied to a new VM: what is of one VM or of its run.
OWN = frozenset(
    {
        "uuid",
        "power_state",
        "resident_on",
        "scheduled_to_be_resident_on",
        "domid",
        "domarch",
        "metrics",
        "guest_metrics",
    }
    | {"current_operations", "allowed_operations", "blocked_operations", "suspend_VDI", "is_default_template"}
    | {"ha_always_run", "start_delay", "shutdown_delay", "order", "suspend_SR", "version", "requires_reboot", "parent"}
)
# Not brought back by a revert.
KEPT = frozenset(
    {"uuid", "power_state", "resident_on", "scheduled_to_be_resident_on", "domid", "metrics", "guest_metrics"}
    | {"current_operations", "allowed_operations", "suspend_VDI", "parent", "tags", "affinity"}
)
REVERT_CLONES_AFTER = frozenset({"SR_OPERATION_NOT_SUPPORTED", "UNIMPLEMENTED_IN_SM_BACKEND"})
NAMED = frozenset({"SR_BACKEND_FAILURE_44", "SR_BACKEND_FAILURE_109", "VDI_INCOMPATIBLE_TYPE"})
Disk = tuple[str, str, bool]  # the VBD copied, the new VDI, whether it is this operation's own

log = logging.getLogger(__name__)


@VM.call("VM ref", vm="VM ref", new_name="string", ignore_vdis="VDI ref set")
def snapshot(context: Context, vm: str, new_name: str, ignore_vdis: list[str] | None = None) -> str:
    """Also of one that runs. Its disks one after the other, each crash-consistent."""
    power.check(context, vm, "snapshot", "Halted", "Running", template_too=True)
    return _make(context, vm, "snapshot", new_name, without=ignore_vdis or [])


@VM.call("VM ref", vm="VM ref", new_name="string")
def clone(context: Context, vm: str, new_name: str) -> str:
    power.check(context, vm, "clone", "Halted", template_too=True)
    return _make(context, vm, "clone", new_name)


@VM.call("VM ref", vm="VM ref", new_name="string", sr="SR ref")
def copy(context: Context, vm: str, new_name: str, sr: str) -> str:
    """Its disks are copied in full: to that SR, or each within its own."""
    power.check(context, vm, "copy", "Halted", template_too=True)
    if sr != NULL:
        context.db.row("SR", sr)
    return _make(context, vm, "copy", new_name, sr=sr)


def _make(
    context: Context, vm: str, operation: str, name: str, *, sr: str = NULL, without: list[str] | None = None
) -> str:
    row = context.db.row("VM", vm)
    wanted = [vbd for vbd in row["VBDs"] if context.db.get("VBD", vbd, "VDI") not in (without or [])]
    with context.operation("VM", vm, operation):
        made = _make_disks(context, wanted, operation, sr)
        try:
            new = create_halted(context, _record(vm, row, name, is_a_snapshot=operation == "snapshot"))
        except Failure:
            _lose(context, made)
            raise
        if operation == "snapshot":
            context.db.set("VM", vm, parent=new)
        for vbd, vdi, _ in made:
            _copy_vbd(context, new, vbd, vdi, is_owner=True)
        for vif in row["VIFs"]:
            _copy_vif(context, new, vif, keep_mac=operation == "snapshot")
    return new


def _make_disks(context: Context, wanted: list[str], operation: str, sr: str = NULL) -> list[Disk]:
    """A new VDI for each VBD of a disk; those that are made go again when one fails."""
    made: list[Disk] = []
    params = {EPOCH_HINT: str(uuids.uuid4())}
    try:
        for vbd in wanted:
            row = context.db.row("VBD", vbd)
            if row["empty"]:
                made.append((vbd, NULL, False))
            elif row["type"] == "CD":
                made.append((vbd, row["VDI"], False))
            elif operation == "copy":
                to = context.db.get("VDI", row["VDI"], "SR") if sr == NULL else sr
                made.append((vbd, disks.copy(context, row["VDI"], to), True))
            else:
                take = disks.snapshot if operation == "snapshot" else disks.clone
                made.append((vbd, take(context, row["VDI"], params), True))
    except Failure:
        _lose(context, made)
        raise
    return made


def _lose(context: Context, made: list[Disk]) -> None:
    for _, vdi, is_own in made:
        if is_own:
            try:
                vdis.destroy(context, vdi)
            except Failure as failure:  # why it is lost matters more
                log.warning("VDI %s could not be destroyed: %s", vdi, failure)


def _record(vm: str, row: dict[str, Any], name: str, *, is_a_snapshot: bool) -> dict[str, Any]:
    """The fields of the new VM."""
    fields = KINDS["VM"].fields
    kept = {key: value for key, value in row.items() if key not in OWN and not fields[key].back}
    hidden = {"default_template", "xensource_internal"}
    other = {key: value for key, value in row["other_config"].items() if key not in hidden}
    if not is_a_snapshot:
        other["mac_seed"] = str(uuids.uuid4())
    if row["is_a_template"]:
        other.setdefault("base_template_name", row["name_label"])
    about = {"is_a_snapshot": False, "snapshot_of": NULL, "snapshot_time": "19700101T00:00:00Z", "snapshot_info": {},
             "snapshot_metadata": ""}  # fmt: skip
    if is_a_snapshot:
        state = {"power-state-at-snapshot": row["power_state"], "disk-snapshot-type": "crash_consistent"}
        about = {"is_a_snapshot": True, "snapshot_of": vm, "snapshot_time": now(), "snapshot_info": state,
                 "snapshot_metadata": _metadata(row), "is_a_template": True, "parent": row["parent"]}  # fmt: skip
    return {**kept, **about, "name_label": name, "other_config": other, "transportable_snapshot_id": ""}


def _metadata(row: dict[str, Any]) -> str:
    """What a revert brings back. xapi has it as an S-expression, which is nobody's business; here it is JSON."""
    fields = KINDS["VM"].fields
    return json.dumps({key: value for key, value in row.items() if key not in KEPT and not fields[key].back})


def _copy_vbd(context: Context, vm: str, vbd: str, vdi: str, *, is_owner: bool) -> str:
    row = context.db.row("VBD", vbd)
    names = [name for name, field in KINDS["VBD"].fields.items() if field.is_given_at_creation]
    values = {name: row[name] for name in names if name not in {"VM", "VDI", "device", "currently_attached"}}
    if is_owner and row["type"] == "Disk":
        values["other_config"] = {OWNER: "", **row["other_config"]}
    return str(vbds.create(context, {**values, "VM": vm, "VDI": vdi, "empty": vdi == NULL}))


def _copy_vif(context: Context, vm: str, vif: str, *, keep_mac: bool) -> None:
    row = context.db.row("VIF", vif)
    names = [name for name, field in KINDS["VIF"].fields.items() if field.is_given_at_creation]
    values = {name: row[name] for name in names if name != "currently_attached"}
    mac = {"MAC": row["MAC"] if keep_mac or not row["MAC_autogenerated"] else new_mac()}
    context.db.create("VIF", {**values, **mac, "MAC_autogenerated": row["MAC_autogenerated"], "VM": vm})


@VM.call(snapshot="VM ref")
def revert(context: Context, snapshot: str) -> None:
    """The VM as it was. A disk keeps its VDI where VDI.revert works; else it gets a clone of the snapshot's."""
    row = context.db.row("VM", snapshot)
    if not row["is_a_snapshot"]:
        raise Failure("ONLY_REVERT_SNAPSHOT")
    vm = row["snapshot_of"]
    if vm == NULL or not context.db.exists("VM", vm):
        raise Failure("VM_REVERT_FAILED", snapshot, vm)  # xapi makes the VM anew; the lab does not
    if context.db.get("VM", vm, "power_state") == "Running":
        power.shut_down(context, vm, "hard_shutdown")
    power.check(context, vm, "reverting", "Halted", template_too=True)
    with context.operation("VM", snapshot, "revert"), context.operation("VM", vm, "reverting"):
        kept = json.loads(row["snapshot_metadata"])
        context.db.set("VM", vm, **{**kept, "ha_always_run": False})
        try:
            _revert_devices(context, vm, row)
        except Failure as failure:
            log.warning("revert to %s: %s", row["uuid"], failure)
            if failure.code in NAMED:
                raise
            raise Failure("VM_REVERT_FAILED", snapshot, vm) from failure
        context.db.set("VM", vm, parent=snapshot)


def _revert_devices(context: Context, vm: str, snapshot: dict[str, Any]) -> None:
    old = context.db.row("VM", vm)
    old_disks = {context.db.get("VBD", vbd, "VDI") for vbd in old["VBDs"]} - {NULL}
    for vbd in old["VBDs"]:
        context.db.destroy("VBD", vbd)
    for vbd in snapshot["VBDs"]:
        row = context.db.row("VBD", vbd)
        vdi = row["VDI"] if row["empty"] or row["type"] == "CD" else _revert_disk(context, row["VDI"], old_disks)
        _copy_vbd(context, vm, vbd, vdi, is_owner=False)
    for vif in old["VIFs"]:
        context.db.destroy("VIF", vif)
    for vif in snapshot["VIFs"]:
        _copy_vif(context, vm, vif, keep_mac=True)


def _revert_disk(context: Context, snapshot: str, old_disks: set[str]) -> str:
    """The VDI with the snapshot's content: the one it is of, or, in its place, a clone."""
    of = str(context.db.get("VDI", snapshot, "snapshot_of"))
    if context.db.exists("VDI", of):
        try:
            disks.revert(context, snapshot)
        except Failure as failure:
            if failure.code not in REVERT_CLONES_AFTER:
                raise
        else:
            return of
    if of in old_disks and context.db.exists("VDI", of):
        vdis.destroy(context, of)
    family = context.db.where("VDI", snapshot_of=of)
    made = str(disks.clone(context, snapshot, {EPOCH_HINT: str(uuids.uuid4())}))
    for one in family:
        context.db.set("VDI", one, snapshot_of=made)
    return made
