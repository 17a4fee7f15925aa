"""Disks attached to a host's dom0 for a while, as xapi does to copy, import and export them. The pool's side.

While it lasts there is a VBD of the control domain, as on a real host: nobody else writes to the disk, and it shows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lab.xapi import disks
from lab.xapi.failure import Failure

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

MARK = "lab-transfer"  # in the VBD's other_config: what a toolstack that starts anew may take away

log = logging.getLogger(__name__)


@contextmanager
def in_dom0(context: Context, vdi: str, host: str, *, writable: bool) -> Iterator[dict[str, Any]]:
    """The disk as the host's agent takes it."""
    vbd = reserve(context, vdi, host, writable=writable)
    try:
        disk = plug(context, vbd, host)
    except Failure:
        context.db.destroy("VBD", vbd)
        raise
    try:
        yield disk
    finally:
        release(context, vbd, host)


def reserve(context: Context, vdi: str, host: str, *, writable: bool) -> str:
    """A VBD of dom0 that keeps the disk from others, if nobody has it."""
    dom0 = context.db.get("host", host, "control_domain")
    mode = "RW" if writable else "RO"
    with context.db.lock:
        taken = {int(context.db.get("VBD", ref, "userdevice")) for ref in context.db.get("VM", dom0, "VBDs")}
        position = next(number for number in range(len(taken) + 1) if number not in taken)
        values = {"VM": dom0, "VDI": vdi, "userdevice": str(position), "mode": mode, "type": "Disk", "empty": False}
        vbd = context.db.create("VBD", {**values, "unpluggable": True, "other_config": {MARK: "true"}})
        try:
            disks.check_sharing(context, vbd)
        except Failure:
            context.db.destroy("VBD", vbd)
            raise
        context.db.set("VBD", vbd, currently_attached=True)
    return vbd


def plug(context: Context, vbd: str, host: str) -> dict[str, Any]:
    """Attach and activate a reserved VBD's disk."""
    return disks.attach(context, vbd, host)


def release(context: Context, vbd: str, host: str) -> None:
    """Deactivate, detach, and forget the VBD."""
    try:
        disks.detach(context, vbd, host)
    finally:
        context.db.destroy("VBD", vbd)


def release_leftovers(context: Context, host: str, *, booted: bool) -> None:
    """What a toolstack that ended half-way left attached. A host that has booted since has nothing attached."""
    for vbd in context.db.get("VM", context.db.get("host", host, "control_domain"), "VBDs"):
        if MARK not in context.db.get("VBD", vbd, "other_config"):
            if booted:
                context.db.set("VBD", vbd, currently_attached=False)
            continue
        if booted:
            context.db.destroy("VBD", vbd)
            continue
        try:
            release(context, vbd, host)
        except Failure as failure:
            log.warning("VBD %s was left attached to %s, and cannot be detached: %s", vbd, host, failure)
