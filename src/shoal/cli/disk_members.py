"""`shoal disk add`, `remove` and `replace`: the disks of the hosts that Ceph lies on."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from shoal.cli.disk import verbs
from shoal.cli.members import AS_USUAL, NO_WISH, Taken, read_change, work
from shoal.cli.options import Options
from shoal.facts import Facts
from shoal.kit.errors import ShoalError
from shoal.plan.action import Plan, Problem
from shoal.plan.disk_members import Work, find_number, plan_add, plan_remove, plan_replace
from shoal.spec import model
from shoal.spec.edit import ADD_DISK, REMOVE_DISK, REPLACE_DISK, Edit
from shoal.spec.load import Document

HostName = Annotated[str, Parameter(help="The host's name in the spec.")]
Known = Annotated[
    str, Parameter(help="The disk's stable name in the spec, the last part of that, or its number on the host.")
]
New = Annotated[str, Parameter(help="The new disk's stable name, such as /dev/disk/by-id/ata-NEW.")]
WipeOld = Annotated[
    bool, Parameter(name="--wipe-old", negative="", help="ERASE the old disk's partition; else it stays, renamed.")
]


@verbs.command(name="add")
def _add(
    host: HostName,
    device: New,
    /,
    *,
    taken: Taken = NO_WISH,
    options: Options = AS_USUAL,
) -> int:
    """Give a disk of a host to Ceph: write it into the spec, and apply that. Asks first.

    Example: shoal disk add xen1 /dev/disk/by-id/ata-NEW --use whole-disk
    """
    options.need_answer("disk add")
    entry = taken.entry(device, default="whole-disk")
    change, edit = read_change(options.file, lambda spec: Edit(ADD_DISK, _host(spec, host).name, device, entry))
    number = find_number(change.after.spec.host(host), None, device)
    assert number, "it is in the spec now"
    asked = Work(change.before.spec, change.after.spec, options.file, edit, number, change.has_diff)
    return work(change, change.after, lambda facts: plan_add(asked, facts), options)


@verbs.command(name="replace")
def _replace(
    host: HostName,
    old: Known,
    new: New,
    /,
    *,
    taken: Taken = NO_WISH,
    wipe_old: WipeOld = False,
    options: Options = AS_USUAL,
) -> int:
    """Put another disk in an OSD's place; the OSD keeps its id. The old one may be dead. Asks first.

    Example: shoal disk replace xen1 /dev/disk/by-id/ata-OLD /dev/disk/by-id/ata-NEW
    """
    options.need_answer("disk replace")
    entry = taken.entry(new)

    def edit_of(spec: Document) -> Edit:
        there = _host(spec, host)
        return Edit(REPLACE_DISK, there.name, _device(there, old, new), entry)

    change, edit = read_change(options.file, edit_of)
    number = find_number(change.after.spec.host(host), None, new)
    assert number, "it is in the spec now"
    asked = Work(change.before.spec, change.after.spec, options.file, edit, number, change.has_diff, wipe_old)
    return work(change, change.after, lambda facts: plan_replace(asked, facts), options)


@verbs.command(name="remove")
def _remove(
    host: HostName,
    device: Known,
    /,
    *,
    wipe: Annotated[
        bool, Parameter(name="--wipe", negative="", help="ERASE its partition; else it stays, renamed.")
    ] = False,
    options: Options = AS_USUAL,
) -> int:
    """Take a disk from Ceph: its data first go to the other disks. Asks first; cut off, the same command goes on.

    Example: shoal disk remove xen1 /dev/disk/by-id/ata-OLD
    """
    options.need_answer("disk remove")

    def edit_of(spec: Document) -> Edit:
        there = _host(spec, host)
        number = find_number(there, None, device)
        if number and len(there.disks) == 1:
            raise ShoalError(
                f"{device} is the last disk of {host} in the spec",
                resolution=f"To take the host out of the storage: shoal host remove {host}.",
            )
        return Edit(REMOVE_DISK, there.name, dict(there.numbered_disks)[number].device if number else device)

    change, edit = read_change(options.file, edit_of)

    def make(facts: Facts) -> Plan:
        number = find_number(change.before.spec.host(host), facts, device)
        if number is None:
            return Plan((), (Problem(f"{host} has no disk {device} that is or was Shoal's", "shoal status"),))
        return plan_remove(
            Work(change.before.spec, change.after.spec, options.file, edit, number, change.has_diff, wipe), facts
        )

    return work(change, change.before, make, options)


def _host(document: Document, name: str) -> model.Host:
    for host in document.spec.hosts:
        if host.name == name:
            return host
    known = ", ".join(host.name for host in document.spec.hosts)
    raise ShoalError(f"the spec has no host {name}", resolution=f"It has {known}.")


def _device(host: model.Host, old: str, new: str) -> str:
    """The old disk as the spec names it. Where a run that was cut off has written the new one already, that."""
    disks = dict(host.numbered_disks)
    number = find_number(host, None, old)
    if number is not None and disks[number].device == new:
        raise ShoalError("the old and the new disk are the same", resolution="Name another one.")
    if number is None:
        number = find_number(host, None, new)
    if number is None:
        known = ", ".join(disk.device for disk in host.disks)
        raise ShoalError(f"the spec names no disk {old} on {host.name}", resolution=f"It has {known}.")
    return disks[number].device
