"""VMs switched on and off: xapi's checks in xapi's order, their disks attached and detached around it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lab.storage_vm import device_name
from lab.xapi import disks
from lab.xapi.clock import now
from lab.xapi.failure import Failure
from lab.xapi.model import NULL

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

START_TIMEOUT_S = 600.0
CLEAN_SHUTDOWN_TIMEOUT_S = 120.0  # xapi gives a guest 20 minutes
ASK_TIMEOUT_S = 300.0

log = logging.getLogger(__name__)


def check(context: Context, vm: str, operation: str, *states: str, template_too: bool = False) -> None:
    """Blocked by its owner, busy, a template, in the wrong power state: the first that holds is the error."""
    row = context.db.row("VM", vm)
    if operation in row["blocked_operations"]:
        raise Failure("OPERATION_BLOCKED", vm, row["blocked_operations"][operation])
    if row["current_operations"]:
        raise Failure("OTHER_OPERATION_IN_PROGRESS", "VM", vm, next(iter(row["current_operations"].values())))
    if row["is_a_template"] and not template_too:
        raise Failure("VM_IS_TEMPLATE", vm)
    if row["power_state"] not in states:
        raise Failure("VM_BAD_POWER_STATE", vm, states[0], row["power_state"])


def check_host(context: Context, vm: str, host: str) -> None:
    """Whether a host can take a VM: alive, enabled, sees its disks, has the memory."""
    row = context.db.row("host", host)
    if not context.db.get("host_metrics", row["metrics"], "live"):
        raise Failure("HOST_NOT_LIVE")
    if not row["enabled"]:
        raise Failure("HOST_DISABLED", host)
    for vbd in disk_vbds(context, vm):
        sr = context.db.get("VDI", context.db.get("VBD", vbd, "VDI"), "SR")
        if not context.db.where("PBD", SR=sr, host=host, currently_attached=True):
            raise Failure("VM_REQUIRES_SR", vm, sr)
    needed = context.db.get("VM", vm, "memory_static_max")
    if (free := free_memory(context, host)) < needed:
        raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", str(needed), str(free))


def free_memory(context: Context, host: str) -> int:
    total = int(context.db.get("host_metrics", context.db.get("host", host, "metrics"), "memory_total"))
    taken = [context.db.get("VM", ref, "memory_static_max") for ref in context.db.get("host", host, "resident_VMs")]
    return total - int(sum(taken))


def possible_hosts(context: Context, vm: str) -> list[str]:
    able = []
    for host in context.db.refs("host"):
        try:
            check_host(context, vm, host)
        except Failure:
            continue
        able.append(host)
    return able


def disk_vbds(context: Context, vm: str) -> list[str]:
    """A VM's VBDs that have a VDI, by position."""
    rows = {ref: context.db.row("VBD", ref) for ref in context.db.get("VM", vm, "VBDs")}
    filled = [ref for ref, row in rows.items() if not row["empty"]]
    return sorted(filled, key=lambda ref: int(rows[ref]["userdevice"]))


def plug_order(context: Context, vm: str) -> list[str]:
    """Those that are written first: the storage layer cannot make a reader a writer."""
    return sorted(disk_vbds(context, vm), key=lambda vbd: context.db.get("VBD", vbd, "mode") != "RW")


def start(context: Context, vm: str, host: str | None) -> None:
    """Start on that host, or on one that can: the VM's affinity first."""
    check(context, vm, "start_on" if host else "start", "Halted")
    with context.operation("VM", vm, "start_on" if host else "start"):
        host = host or _choose(context, vm)
        check_host(context, vm, host)
        for vbd in disk_vbds(context, vm):
            disks.check_sharing(context, vbd)
        context.db.set("VM", vm, scheduled_to_be_resident_on=host)
        try:
            _start_there(context, vm, host)
        finally:
            context.db.set("VM", vm, scheduled_to_be_resident_on=NULL)


def _choose(context: Context, vm: str) -> str:
    able = possible_hosts(context, vm)
    affinity = context.db.get("VM", vm, "affinity")
    if affinity in able:
        return str(affinity)
    if not able:
        raise Failure("NO_HOSTS_AVAILABLE")
    return max(able, key=lambda host: free_memory(context, host))


def _start_there(context: Context, vm: str, host: str) -> None:
    attached: list[str] = []
    given: list[dict[str, Any]] = []
    try:
        for vbd in disk_vbds(context, vm):
            disks.begin_epoch(context, vbd, host)
        for vbd in plug_order(context, vm):
            given.append(disks.attach(context, vbd, host))
            attached.append(vbd)
            # From now on nobody else gets it.
            device = device_name(context.db.get("VBD", vbd, "userdevice"))
            context.db.set("VBD", vbd, currently_attached=True, device=device)
        plan = make_plan(context, vm, given)
        domain = context.agent(host).call("start_vm", START_TIMEOUT_S, plan=plan)
    except Failure:
        for vbd in reversed(attached):
            give_back(context, vbd, host)
        raise
    set_running(context, vm, host, domain)


def give_back(context: Context, vbd: str, host: str) -> None:
    try:
        disks.detach(context, vbd, host)
    except Failure as failure:  # the reason why the VM did not start matters more
        log.warning("VBD %s could not be detached: %s", vbd, failure)
    context.db.set("VBD", vbd, currently_attached=False)


def make_plan(context: Context, vm: str, given: list[dict[str, Any]]) -> dict[str, Any]:
    row = context.db.row("VM", vm)
    vifs = sorted((context.db.row("VIF", ref) for ref in row["VIFs"]), key=lambda vif: int(vif["device"]))
    return {
        "uuid": row["uuid"],
        "name_label": row["name_label"],
        "hvm": is_hvm(row),
        "memory_bytes": row["memory_static_max"],
        "vcpus": row["VCPUs_at_startup"],
        "kernel": row["PV_kernel"],
        "ramdisk": row["PV_ramdisk"],
        "kernel_args": row["PV_args"],
        "vifs": [[vif["MAC"], context.db.get("network", vif["network"], "bridge")] for vif in vifs],
        "disks": sorted(given, key=lambda disk: int(disk["userdevice"])),
    }


def is_hvm(row: dict[str, Any]) -> bool:
    return bool(row["HVM_boot_policy"])


def set_running(context: Context, vm: str, host: str, domain: int) -> None:
    row = context.db.row("VM", vm)
    state = {"start_time": now(), "state": ["running"], "hvm": is_hvm(row)}
    if context.db.exists("VM_metrics", row["metrics"]):
        context.db.set("VM_metrics", row["metrics"], **state, memory_actual=row["memory_static_max"],
                       VCPUs_number=row["VCPUs_at_startup"], last_updated=now())  # fmt: skip
    for vif in row["VIFs"]:
        context.db.set("VIF", vif, currently_attached=True)
    context.db.set("VM", vm, power_state="Running", resident_on=host, domid=domain)


def set_found(context: Context, vm: str, host: str, domain: int) -> None:
    """The records of a VM that the pool has nowhere, and that a host says it runs: it has its disks."""
    for vbd in disk_vbds(context, vm):
        device = device_name(context.db.get("VBD", vbd, "userdevice"))
        context.db.set("VBD", vbd, currently_attached=True, device=device)
    set_running(context, vm, host, domain)


def set_halted(context: Context, vm: str) -> None:
    """The records of a VM that does not run."""
    row = context.db.row("VM", vm)
    for vbd in row["VBDs"]:
        context.db.set("VBD", vbd, currently_attached=False)
    for vif in row["VIFs"]:
        context.db.set("VIF", vif, currently_attached=False)
    if row["guest_metrics"] != NULL and context.db.exists("VM_guest_metrics", row["guest_metrics"]):
        context.db.destroy("VM_guest_metrics", row["guest_metrics"])
    state = {"power_state": "Halted", "resident_on": NULL, "domid": -1, "guest_metrics": NULL}
    context.db.set("VM", vm, **state, scheduled_to_be_resident_on=NULL, current_operations={})


def shut_down(context: Context, vm: str, how: str) -> None:
    """Switch off, in the guest's own time (clean_…) or at once (hard_…)."""
    check(context, vm, how, "Running")
    row = context.db.row("VM", vm)
    if row["is_control_domain"]:
        raise Failure("OPERATION_NOT_ALLOWED", "a control domain is switched off with its host")
    host, hvm = row["resident_on"], is_hvm(row)
    with context.operation("VM", vm, how):
        agent = context.agent(host)
        if how.startswith("hard"):
            agent.call("destroy_vm", ASK_TIMEOUT_S, uuid=row["uuid"], hvm=hvm)
        else:
            limit_s = CLEAN_SHUTDOWN_TIMEOUT_S
            if not agent.call("shutdown_vm", limit_s + ASK_TIMEOUT_S, uuid=row["uuid"], hvm=hvm, grace_s=limit_s):
                raise Failure("VM_SHUTDOWN_TIMEOUT", "VM", vm, str(limit_s))
        release(context, vm, host)


def release(context: Context, vm: str, host: str) -> None:
    """Give a stopped VM's disks back, end their epoch and record that it is off."""
    attached = [vbd for vbd in plug_order(context, vm) if context.db.get("VBD", vbd, "currently_attached")]
    for vbd in reversed(attached):
        give_back(context, vbd, host)
    for vbd in attached:
        try:
            disks.end_epoch(context, vbd, host)
        except Failure as failure:
            log.warning("the epoch of VBD %s did not end: %s", vbd, failure)
    set_halted(context, vm)


def reset(context: Context, vm: str) -> None:
    """Declare a VM off, whatever blocks it, without asking its host, which may be gone: only the master's own is."""
    row = context.db.row("VM", vm)
    if row["is_control_domain"]:
        raise Failure("CANNOT_RESET_CONTROL_DOMAIN", vm)
    toolstack = context.toolstack
    is_here = row["resident_on"] == toolstack.host_ref(toolstack.settings.host)
    if row["power_state"] == "Running" and is_here:
        pulse = toolstack.local.call("pulse", ASK_TIMEOUT_S, thorough=True)
        if row["uuid"] in pulse["running"]:
            raise Failure("OPERATION_NOT_ALLOWED", "VM still running: power_state_reset is for VMs that are not")
    set_halted(context, vm)
