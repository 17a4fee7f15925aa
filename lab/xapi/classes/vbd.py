"""VBD: a disk's place in a VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.storage_vm import device_name
from lab.xapi import disks
from lab.xapi.failure import Failure
from lab.xapi.model import NULL, kind
from lab.xapi.records import check_record

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

VBD = kind(
    "VBD",
    """
    uuid                      run  string                               -
    allowed_operations        run  enum vbd_operations set              {}
    current_operations        run  (string -> enum vbd_operations) map  {}
    VM                        new  VM ref                               -
    VDI                       new  VDI ref                              -
    device                    new  string                               ""
    userdevice                rw   string                               -
    bootable                  rw   bool                                 -
    mode                      new  enum vbd_mode                        -
    type                      rw   enum vbd_type                        -
    unpluggable               rw   bool                                 true
    storage_lock              run  bool                                 -
    empty                     new  bool                                 -
    other_config              rw   (string -> string) map               -
    currently_attached        new  bool                                 false
    status_code               run  int                                  -
    status_detail             run  string                               -
    runtime_properties        run  (string -> string) map               -
    qos_algorithm_type        rw   string                               -
    qos_algorithm_params      rw   (string -> string) map               -
    qos_supported_algorithms  run  string set                           -
    metrics                   run  VBD_metrics ref                      OpaqueRef:NULL
    """,
)
POSITIONS = 16


@VBD.call("VBD ref", args="VBD record")
def create(context: Context, args: dict[str, Any]) -> str:
    values = check_record(VBD, args)
    vm = values["VM"]
    context.db.row("VM", vm)
    if not values["empty"]:
        context.db.row("VDI", values["VDI"])
    elif values["type"] != "CD":
        raise Failure("VBD_NOT_REMOVABLE_MEDIA", NULL)
    values["VDI"] = NULL if values["empty"] else values["VDI"]
    taken = {context.db.get("VBD", ref, "userdevice") for ref in context.db.get("VM", vm, "VBDs")}
    values["userdevice"] = _position(values["userdevice"], taken)
    values["device"] = ""
    values["currently_attached"] = False
    return context.db.create("VBD", values)


def _position(wanted: str, taken: set[str]) -> str:
    if wanted == "autodetect":
        wanted = next(str(number) for number in range(POSITIONS) if str(number) not in taken)
    if not wanted.isdigit() or int(wanted) >= POSITIONS:
        raise Failure("INVALID_DEVICE", wanted)
    if wanted in taken:
        raise Failure("DEVICE_ALREADY_EXISTS", wanted)
    return wanted


@VBD.call(self="VBD ref")
def destroy(context: Context, self: str) -> None:
    row = context.db.row("VBD", self)
    if row["currently_attached"]:
        vm = context.db.get("VM", row["VM"], "uuid")
        raise Failure("OPERATION_NOT_ALLOWED", f"VBD '{row['uuid']}' still attached to '{vm}'")
    context.db.destroy("VBD", self)


@VBD.call(self="VBD ref")
def assert_attachable(context: Context, self: str) -> None:
    disks.check_sharing(context, self)


def _running_vm(context: Context, vbd: str, *, attached: bool) -> dict[str, Any]:
    """The VM, if it runs and the VBD is attached (or not), as plug and unplug need it."""
    row = context.db.row("VBD", vbd)
    vm = context.db.row("VM", row["VM"])
    if row["current_operations"]:
        raise Failure("OTHER_OPERATION_IN_PROGRESS", "VBD", vbd, next(iter(row["current_operations"].values())))
    if vm["power_state"] != "Running":
        raise Failure("VM_BAD_POWER_STATE", row["VM"], "Running", vm["power_state"])
    if row["currently_attached"] != attached:
        raise Failure("DEVICE_ALREADY_DETACHED" if attached else "DEVICE_ALREADY_ATTACHED", vbd)
    return vm


def _is_hvm(vm: dict[str, Any]) -> bool:
    return bool(vm["HVM_boot_policy"])


@VBD.call(self="VBD ref")
def plug(context: Context, self: str) -> None:
    vm = _running_vm(context, self, attached=False)
    disks.check_sharing(context, self)
    host, is_dom0 = vm["resident_on"], vm["is_control_domain"]
    with context.operation("VBD", self, "plug"):
        if not is_dom0:
            disks.begin_epoch(context, self, host)
        disk = disks.attach(context, self, host)
        try:
            if not is_dom0:
                context.agent(host).call("plug", disks.TIMEOUT_S, uuid=vm["uuid"], hvm=_is_hvm(vm), disk=disk)
        except Failure:
            disks.detach(context, self, host)
            raise
        device = device_name(context.db.get("VBD", self, "userdevice"))
        # dom0 takes the disk where its driver put it.
        device = disk["params"].removeprefix("/dev/") if is_dom0 else device
        context.db.set("VBD", self, currently_attached=True, device=device)


@VBD.call(self="VBD ref")
def unplug(context: Context, self: str) -> None:
    vm = _running_vm(context, self, attached=True)
    if not context.db.get("VBD", self, "unpluggable"):
        raise Failure("VBD_NOT_UNPLUGGABLE", self)
    host, position = vm["resident_on"], context.db.get("VBD", self, "userdevice")
    with context.operation("VBD", self, "unplug"):
        if not vm["is_control_domain"]:
            known = {"uuid": vm["uuid"], "hvm": _is_hvm(vm), "userdevice": position}
            context.agent(host).call("unplug", disks.TIMEOUT_S, **known)
        disks.detach(context, self, host)
        if not vm["is_control_domain"]:
            disks.end_epoch(context, self, host)
        context.db.set("VBD", self, currently_attached=False)


@VBD.call(self="VBD ref", value="enum vbd_mode")
def set_mode(context: Context, self: str, value: str) -> None:
    row = context.db.row("VBD", self)
    if row["currently_attached"]:
        raise Failure("OPERATION_NOT_ALLOWED", "VBD is attached")
    context.db.set("VBD", self, mode=value)
