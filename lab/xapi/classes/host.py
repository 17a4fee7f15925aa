"""host: the pool's hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi import migration, power
from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

HOST = kind(
    "host",
    """
    uuid                               run  string                                        -
    name_label                         rw   string                                        ""
    name_description                   rw   string                                        ""
    memory_overhead                    run  int                                           0
    allowed_operations                 run  enum host_allowed_operations set              {}
    current_operations                 run  (string -> enum host_allowed_operations) map  {}
    API_version_major                  run  int                                           -
    API_version_minor                  run  int                                           -
    API_version_vendor                 run  string                                        -
    API_version_vendor_implementation  run  (string -> string) map                        -
    enabled                            run  bool                                          -
    software_version                   new  (string -> string) map                        -
    other_config                       rw   (string -> string) map                        -
    capabilities                       new  string set                                    -
    cpu_configuration                  run  (string -> string) map                        -
    sched_policy                       run  string                                        -
    supported_bootloaders              run  string set                                    -
    resident_VMs                       run  VM ref set                                    <- resident_on
    logging                            rw   (string -> string) map                        -
    PIFs                               run  PIF ref set                                   <- host
    suspend_image_sr                   rw   SR ref                                        -
    crash_dump_sr                      rw   SR ref                                        -
    PBDs                               run  PBD ref set                                   <- host
    cpu_info                           run  (string -> string) map                        {}
    hostname                           rw   string                                        -
    address                            rw   string                                        -
    metrics                            run  host_metrics ref                              -
    license_params                     run  (string -> string) map                        -
    tags                               rw   string set                                    {}
    edition                            run  string                                        ""
    bios_strings                       run  (string -> string) map                        {}
    local_cache_sr                     new  SR ref                                        OpaqueRef:NULL
    control_domain                     run  VM ref                                        OpaqueRef:NULL
    iscsi_iqn                          new  string                                        ""
    multipathing                       new  bool                                          false
    tls_verification_enabled           run  bool                                          false
    """,
)
PLUGIN_TIMEOUT_S = 900.0
POWER_TIMEOUT_S = 60.0
DISABLED_NOTE = "lab-disabled"


@HOST.call("string", host="host ref", plugin="string", fn="string", args="(string -> string) map")
def call_plugin(context: Context, host: str, plugin: str, fn: str, args: dict[str, str]) -> Any:
    return context.agent(host).call(
        "call_plugin", PLUGIN_TIMEOUT_S, plugin=plugin, function=fn, pairs=args, session=context.session
    )


@HOST.call(host="host ref")
def disable(context: Context, host: str) -> None:
    remember_disabled(context, host, by_hand=True)
    context.db.set("host", host, enabled=False)


@HOST.call(host="host ref")
def enable(context: Context, host: str) -> None:
    context.agent(host)  # HOST_OFFLINE
    remember_disabled(context, host, by_hand=False)
    context.db.set("host", host, enabled=True)


def remember_disabled(context: Context, host: str, *, by_hand: bool) -> None:
    """Disabled by a call, a host stays so through restarts of its toolstack, until it boots. xapi notes it in dom0."""
    other = {key: value for key, value in context.db.get("host", host, "other_config").items() if key != DISABLED_NOTE}
    context.db.set("host", host, other_config={**other, DISABLED_NOTE: "true"} if by_hand else other)


def is_disabled_by_hand(context: Context, host: str) -> bool:
    return DISABLED_NOTE in context.db.get("host", host, "other_config")


@HOST.call("int", host="host ref")
def compute_free_memory(context: Context, host: str) -> int:
    return power.free_memory(context, host)


@HOST.call("datetime", host="host ref")
def get_servertime(context: Context, host: str) -> Any:
    return context.agent(host).call("time", POWER_TIMEOUT_S)


@HOST.call("PIF ref", host="host ref")
def get_management_interface(context: Context, host: str) -> str:
    for pif in context.db.where("PIF", host=host, management=True):
        return pif
    raise Failure("HOST_HAS_NO_MANAGEMENT_IP")


@HOST.call("(VM ref -> string set) map", self="host ref")
def get_vms_which_prevent_evacuation(context: Context, self: str) -> dict[str, list[str]]:
    """Each VM by itself; xapi also looks whether there is room for all of them together."""
    row = context.db.row("host", self)
    reasons = {vm: migration.why_not(context, vm) for vm in row["resident_VMs"] if vm != row["control_domain"]}
    return {vm: why for vm, why in reasons.items() if why}


def _must_be_off(context: Context, host: str) -> None:
    row = context.db.row("host", host)
    if row["enabled"]:
        raise Failure("HOST_NOT_DISABLED")
    if set(row["resident_VMs"]) - {row["control_domain"]}:
        raise Failure("HOST_HAS_RESIDENT_VMS", host)


@HOST.call(host="host ref")
def reboot(context: Context, host: str) -> None:
    _must_be_off(context, host)
    context.agent(host).call("power", POWER_TIMEOUT_S, verb="reboot")


@HOST.call(host="host ref")
def shutdown(context: Context, host: str) -> None:
    _must_be_off(context, host)
    context.agent(host).call("power", POWER_TIMEOUT_S, verb="poweroff")


@HOST.call(host="host ref")
def restart_agent(context: Context, host: str) -> None:
    """Restart the host's toolstack; the answer comes first."""
    context.agent(host).call("restart", POWER_TIMEOUT_S)


@HOST.call(host="host ref")
def declare_dead(context: Context, host: str) -> None:
    """Its VMs are off, its PBDs unplugged: whoever says so must be sure."""
    row = context.db.row("host", host)
    if context.db.get("host_metrics", row["metrics"], "live"):
        raise Failure("HOST_IS_LIVE", host)
    for vm in set(row["resident_VMs"]) - {row["control_domain"]}:
        power.set_halted(context, vm)
    for pbd in row["PBDs"]:
        context.db.set("PBD", pbd, currently_attached=False)
    context.db.set("host_metrics", row["metrics"], live=False, last_updated=now())
