"""VM.pool_migrate: a running VM goes on on another host. Its disks change hands in xapi's order for SMAPIv1 drivers.

It is suspended meanwhile: `xl save` here, its file to the other dom0, `xl restore` there. With real xapi it runs
on until its last pages move. What drivers see is the same: the domain lets its disks go, vdi_deactivate here,
vdi_attach and vdi_activate there, and vdi_detach here last.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lab.storage_vm import device_name
from lab.xapi import disks, power
from lab.xapi.failure import Failure

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

STATE_TIMEOUT_S = 300.0
MOVE_TIMEOUT_S = 900.0

log = logging.getLogger(__name__)


def migrate(context: Context, vm: str, host: str) -> None:
    """Onto that host; to where it already is, it is left alone."""
    power.check(context, vm, "pool_migrate", "Running")
    row = context.db.row("VM", vm)
    if row["is_control_domain"]:
        raise Failure("OPERATION_NOT_ALLOWED", "a control domain stays where it is")
    if power.is_hvm(row):
        raise Failure("VM_LACKS_FEATURE", vm)  # a container cannot be suspended; xapi says so of guests without drivers
    source = row["resident_on"]
    if source == host:
        return
    with context.operation("VM", vm, "pool_migrate"):
        power.check_host(context, vm, host)
        context.db.set("VM", vm, scheduled_to_be_resident_on=host)
        try:
            _move(context, vm, source, host)
        finally:
            context.db.set("VM", vm, scheduled_to_be_resident_on="OpaqueRef:NULL")


def why_not(context: Context, vm: str) -> list[str]:
    """The error that keeps a VM from moving to any other host, or nothing."""
    row, failures = context.db.row("VM", vm), []
    try:
        power.check(context, vm, "pool_migrate", "Running")
    except Failure as failure:
        return failure.description
    if power.is_hvm(row):
        return ["VM_LACKS_FEATURE", vm]
    for host in context.db.refs("host"):
        if host == row["resident_on"]:
            continue
        try:
            power.check_host(context, vm, host)
        except Failure as failure:
            failures.append(failure.description)
        else:
            return []
    return failures[0] if failures else ["NO_HOSTS_AVAILABLE"]


def _move(context: Context, vm: str, source: str, target: str) -> None:
    own = context.db.get("VM", vm, "uuid")
    vbds = [vbd for vbd in power.plug_order(context, vm) if context.db.get("VBD", vbd, "currently_attached")]
    try:
        context.agent(source).call("save_vm", MOVE_TIMEOUT_S, uuid=own, hvm=False)
        _hand_over(context, vm, vbds, source, target)
    finally:
        for host in (source, target):
            _forget_state(context, own, host)


def _hand_over(context: Context, vm: str, vbds: list[str], source: str, target: str) -> None:
    """Its domain is gone, its memory is in a file; until here it would just have run on."""
    own, peer = context.db.get("VM", vm, "uuid"), context.db.get("host", target, "hostname")
    try:
        context.agent(source).call("send_state", MOVE_TIMEOUT_S, uuid=own, peer=peer)
        for vbd in reversed(vbds):
            disks.deactivate(context, vbd, source)
        domain = _go_on(context, vm, vbds, target)
    except Failure as failure:
        log.warning("VM %s could not go on there: %s", vm, failure)
        _go_back(context, vm, vbds, source)
        raise
    power.set_running(context, vm, target, domain)
    for vbd in reversed(vbds):
        _detach(context, vbd, source)


def _go_on(context: Context, vm: str, vbds: list[str], host: str) -> int:
    """Attach the disks there and restore; what was attached is given back if that fails."""
    given: list[dict[str, Any]] = []
    done: list[str] = []
    try:
        for vbd in vbds:
            given.append(disks.attach(context, vbd, host))
            done.append(vbd)
            context.db.set("VBD", vbd, device=device_name(context.db.get("VBD", vbd, "userdevice")))
        plan = power.make_plan(context, vm, given)
        return int(context.agent(host).call("restore_vm", STATE_TIMEOUT_S, plan=plan))
    except Failure:
        for vbd in reversed(done):
            disks.detach(context, vbd, host)
        raise


def _go_back(context: Context, vm: str, vbds: list[str], host: str) -> None:
    """The VM goes on where it was, from the file; if not even that, it is off, as after a crash."""
    try:
        power.set_running(context, vm, host, _go_on(context, vm, vbds, host))
    except Failure as failure:
        log.warning("VM %s could not go on here either: %s", vm, failure)
        for vbd in reversed(vbds):
            _detach(context, vbd, host)
        power.set_halted(context, vm)


def _forget_state(context: Context, own: str, host: str) -> None:
    try:
        context.agent(host).call("forget_state", STATE_TIMEOUT_S, uuid=own)
    except Failure as failure:
        log.warning("the saved memory of %s is left: %s", own, failure)


def _detach(context: Context, vbd: str, host: str) -> None:
    """The VM runs elsewhere or nowhere: a disk that stays attached here must not undo that."""
    vdi = context.db.get("VBD", vbd, "VDI")
    try:
        disks.ask_detach(context, vdi, host)
    except Failure as failure:
        log.warning("VDI %s was not detached: %s", vdi, failure)
