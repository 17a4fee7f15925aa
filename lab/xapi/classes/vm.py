"""VM: its record and its power; what power means is in `lab.xapi.power`, copies are in `vm_copies`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi import migration, power
from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import NULL, kind
from lab.xapi.records import check_record, serve_setters

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

VM = kind("VM", """
    uuid                         run  string                              -
    allowed_operations           run  enum vm_operations set              {}
    current_operations           run  (string -> enum vm_operations) map  {}
    name_label                   rw   string                              ""
    name_description             rw   string                              ""
    power_state                  new  enum vm_power_state                 Halted
    user_version                 rw   int                                 -
    is_a_template                rw   bool                                -
    is_default_template          run  bool                                false
    suspend_VDI                  new  VDI ref                             OpaqueRef:NULL
    resident_on                  run  host ref                            -
    scheduled_to_be_resident_on  run  host ref                            OpaqueRef:NULL
    affinity                     rw   host ref                            -
    memory_overhead              run  int                                 0
    memory_target                new  int                                 0
    memory_static_max            new  int                                 -
    memory_dynamic_max           new  int                                 -
    memory_dynamic_min           new  int                                 -
    memory_static_min            new  int                                 -
    VCPUs_params                 rw   (string -> string) map              -
    VCPUs_max                    new  int                                 -
    VCPUs_at_startup             new  int                                 -
    actions_after_softreboot     rw   enum on_softreboot_behavior         soft_reboot
    actions_after_shutdown       rw   enum on_normal_exit                 -
    actions_after_reboot         rw   enum on_normal_exit                 -
    actions_after_crash          new  enum on_crash_behaviour             -
    consoles                     run  console ref set                     <- VM
    VIFs                         run  VIF ref set                         <- VM
    VBDs                         run  VBD ref set                         <- VM
    PV_bootloader                rw   string                              -
    PV_kernel                    rw   string                              -
    PV_ramdisk                   rw   string                              -
    PV_args                      rw   string                              -
    PV_bootloader_args           rw   string                              -
    PV_legacy_args               rw   string                              -
    HVM_boot_policy              new  string                              -
    HVM_boot_params              rw   (string -> string) map              -
    HVM_shadow_multiplier        new  float                               1.
    platform                     rw   (string -> string) map              -
    PCI_bus                      rw   string                              -
    other_config                 rw   (string -> string) map              -
    domid                        run  int                                 -
    domarch                      run  string                              -
    last_boot_CPU_flags          new  (string -> string) map              {}
    is_control_domain            run  bool                                -
    metrics                      run  VM_metrics ref                      -
    guest_metrics                run  VM_guest_metrics ref                -
    last_booted_record           new  string                              ""
    recommendations              rw   string                              -
    xenstore_data                rw   (string -> string) map              {}
    ha_always_run                new  bool                                false
    ha_restart_priority          new  string                              ""
    is_a_snapshot                run  bool                                false
    snapshot_of                  run  VM ref                              Null
    snapshots                    run  VM ref set                          <- snapshot_of
    snapshot_time                run  datetime                            19700101T00:00:00Z
    transportable_snapshot_id    run  string                              ""
    snapshot_info                run  (string -> string) map              {}
    snapshot_metadata            run  string                              ""
    parent                       run  VM ref                              Null
    children                     run  VM ref set                          <- parent
    tags                         rw   string set                          {}
    blocked_operations           rw   (enum vm_operations -> string) map  {}
    bios_strings                 run  (string -> string) map              {}
    start_delay                  new  int                                 0
    shutdown_delay               new  int                                 0
    order                        new  int                                 0
    suspend_SR                   rw   SR ref                              OpaqueRef:NULL
    version                      new  int                                 0
    generation_id                new  string                              "0:0"
    hardware_platform_version    rw   int                                 0
    has_vendor_device            new  bool                                false
    requires_reboot              run  bool                                false
    reference_label              new  string                              ""
    domain_type                  new  enum domain_type                    unspecified
    NVRAM                        new  (string -> string) map              {}
    """)  # fmt: skip

serve_setters(
    VM, "VCPUs_max", "VCPUs_at_startup", "HVM_boot_policy", "HVM_shadow_multiplier", "actions_after_crash", "order",
    "start_delay", "shutdown_delay", "domain_type", "has_vendor_device", "ha_restart_priority", "memory_static_max",
    "memory_static_min", "memory_dynamic_max", "memory_dynamic_min", "suspend_VDI",
)  # fmt: skip


@VM.call("VM ref", args="VM record")
def create(context: Context, args: dict[str, Any]) -> str:
    values = check_record(VM, args)
    low, high = values["memory_static_min"], values["memory_static_max"]
    if not low <= values["memory_dynamic_min"] <= values["memory_dynamic_max"] <= high:
        raise Failure("MEMORY_CONSTRAINT_VIOLATION", "static_min <= dynamic_min <= dynamic_max <= static_max")
    if not 0 < values["VCPUs_at_startup"] <= values["VCPUs_max"]:
        raise Failure("INVALID_VALUE", "VCPUs_at_startup", str(values["VCPUs_at_startup"]))
    return create_halted(context, values)


def create_halted(context: Context, values: dict[str, Any]) -> str:
    metrics = context.db.create("VM_metrics", {"last_updated": now(), "install_time": now()})
    return context.db.create("VM", {**values, "power_state": "Halted", "metrics": metrics, "domid": -1})


@VM.call(self="VM ref")
def destroy(context: Context, self: str) -> None:
    row = context.db.row("VM", self)
    power.check(context, self, "destroy", "Halted", template_too=True)
    if row["is_control_domain"]:
        raise Failure("OPERATION_NOT_ALLOWED", "the control domain cannot be destroyed")
    for child in row["children"]:
        context.db.set("VM", child, parent=row["parent"])
    for kind_, refs in (("VBD", row["VBDs"]), ("VIF", row["VIFs"]), ("console", row["consoles"])):
        for ref in refs:
            context.db.destroy(kind_, ref)
    for kind_, ref in (("VM_metrics", row["metrics"]), ("VM_guest_metrics", row["guest_metrics"])):
        if ref != NULL and context.db.exists(kind_, ref):
            context.db.destroy(kind_, ref)
    context.db.destroy("VM", self)


@VM.call(vm="VM ref")
def provision(context: Context, vm: str) -> None:
    """Make a VM of a clone of a template."""
    power.check(context, vm, "provision", "Halted", template_too=True)
    context.db.set("VM", vm, is_a_template=False)


@VM.call(self="VM ref", static_min="int", static_max="int", dynamic_min="int", dynamic_max="int")
def set_memory_limits(
    context: Context, self: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    power.check(context, self, "changing_memory_limits", "Halted", template_too=True)
    if not static_min <= dynamic_min <= dynamic_max <= static_max:
        raise Failure("MEMORY_CONSTRAINT_VIOLATION", "static_min <= dynamic_min <= dynamic_max <= static_max")
    limits = {"memory_static_min": static_min, "memory_static_max": static_max}
    context.db.set("VM", self, memory_dynamic_min=dynamic_min, memory_dynamic_max=dynamic_max, **limits)


@VM.call(self="VM ref", value="int")
def set_memory(context: Context, self: str, value: int) -> None:
    set_memory_limits(context, self, context.db.get("VM", self, "memory_static_min"), value, value, value)


@VM.call("string set", vm="VM ref")
def get_allowed_VBD_devices(context: Context, vm: str) -> list[str]:  # noqa: N802  XenAPI's name
    taken = {context.db.get("VBD", ref, "userdevice") for ref in context.db.get("VM", vm, "VBDs")}
    return [str(number) for number in range(16) if str(number) not in taken]


@VM.call("string set", vm="VM ref")
def get_allowed_VIF_devices(context: Context, vm: str) -> list[str]:  # noqa: N802  XenAPI's name
    taken = {context.db.get("VIF", ref, "device") for ref in context.db.get("VM", vm, "VIFs")}
    return [str(number) for number in range(7) if str(number) not in taken]


@VM.call("host ref set", vm="VM ref")
def get_possible_hosts(context: Context, vm: str) -> list[str]:
    return power.possible_hosts(context, vm)


@VM.call(self="VM ref", host="host ref")
def assert_can_boot_here(context: Context, self: str, host: str) -> None:
    power.check_host(context, self, host)


@VM.call(vm="VM ref", start_paused="bool", force="bool")
def start(context: Context, vm: str, start_paused: bool, force: bool) -> None:  # noqa: ARG001, FBT001
    power.start(context, vm, None)


@VM.call(vm="VM ref", host="host ref", start_paused="bool", force="bool")
def start_on(context: Context, vm: str, host: str, start_paused: bool, force: bool) -> None:  # noqa: ARG001, FBT001
    context.db.row("host", host)
    power.start(context, vm, host)


@VM.call(vm="VM ref")
def clean_shutdown(context: Context, vm: str) -> None:
    power.shut_down(context, vm, "clean_shutdown")


@VM.call(vm="VM ref")
def hard_shutdown(context: Context, vm: str) -> None:
    power.shut_down(context, vm, "hard_shutdown")


@VM.call(vm="VM ref")
def shutdown(context: Context, vm: str) -> None:
    """Cleanly if it will, else hard."""
    try:
        power.shut_down(context, vm, "clean_shutdown")
    except Failure as failure:
        if failure.code != "VM_SHUTDOWN_TIMEOUT":
            raise
        power.shut_down(context, vm, "hard_shutdown")


@VM.call(vm="VM ref")
def clean_reboot(context: Context, vm: str) -> None:
    host = context.db.get("VM", vm, "resident_on")
    power.shut_down(context, vm, "clean_reboot")
    power.start(context, vm, host)


@VM.call(vm="VM ref")
def hard_reboot(context: Context, vm: str) -> None:
    host = context.db.get("VM", vm, "resident_on")
    power.shut_down(context, vm, "hard_reboot")
    power.start(context, vm, host)


@VM.call(vm="VM ref", host="host ref", options="(string -> string) map")
def pool_migrate(context: Context, vm: str, host: str, options: dict[str, str]) -> None:  # noqa: ARG001  always live
    migration.migrate(context, vm, host)


@VM.call(vm="VM ref")
def power_state_reset(context: Context, vm: str) -> None:
    power.reset(context, vm)
