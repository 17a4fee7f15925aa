"""`shoal host add` and `remove`: a host of the pool joins the storage, or leaves it."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from shoal.cli.host import verbs
from shoal.cli.members import AS_USUAL, NO_WISH, Taken, read_change, work
from shoal.cli.options import Options
from shoal.facts import Facts
from shoal.kit.errors import ShoalError
from shoal.plan.action import Plan
from shoal.plan.host_members import plan_add
from shoal.plan.host_removal import Leave, plan_remove
from shoal.spec.edit import ADD_HOST, REMOVE_HOST, Edit
from shoal.spec.model import Host

Address = Annotated[str, Parameter(name="--address", help="A free address of network.public.cidr for its storage VM.")]
Disks = Annotated[
    list[str], Parameter(name="--disk", negative="", help="Stable name of a disk of the host; may be given again.")
]


@verbs.command(name="add")
def _add(
    name: str,
    /,
    *,
    address: Address,
    disk: Disks,
    taken: Taken = NO_WISH,
    options: Options = AS_USUAL,
) -> int:
    """Bring a host that has joined the pool into the storage: write it into the spec, and apply that. Asks first.

    Example: shoal host add xen4 --address 10.77.0.24 --disk /dev/disk/by-id/ata-NEW
    """
    options.need_answer("host add")
    disks = [taken.entry(device, default="whole-disk") for device in disk]
    entry = {"name": name, "storage_vm": {"address": address}, "disks": disks}
    change, edit = read_change(options.file, lambda _: Edit(ADD_HOST, name, entry=entry))
    if not change.has_diff:  # a run that was cut off has written it; or another host is meant
        _refuse_other(change.after.spec.host(name), address, disk)

    def make(facts: Facts) -> Plan:
        return plan_add(change.after.spec, facts, options.file, edit, changes_spec=change.has_diff)

    return work(change, change.after, make, options)


def _refuse_other(there: Host, address: str, devices: list[str]) -> None:
    other = "" if {one.device for one in there.disks} == set(devices) else "with other disks"
    other = other if str(there.storage_vm.address) == address else "at another address"
    if other:
        raise ShoalError(
            f"the spec has a host {there.name} already, {other}",
            resolution=f"Look at its entry. For one disk more: shoal disk add {there.name} DEVICE.",
        )


@verbs.command(name="remove")
def _remove(
    name: str,
    /,
    *,
    wipe: Annotated[
        bool, Parameter(name="--wipe", negative="", help="ERASE the partitions of its OSDs; else they stay, renamed.")
    ] = False,
    dead: Annotated[
        bool, Parameter(name="--dead", negative="", help="It will not come back: only the other hosts forget it.")
    ] = False,
    options: Options = AS_USUAL,
) -> int:
    """Take a host out of the storage: its data first, then all that Shoal has on it. It stays in the pool. Asks first.

    Example: shoal host remove xen4
    """
    options.need_answer("host remove")
    if dead and wipe:
        raise ShoalError("a dead host's partitions cannot be erased", resolution="Leave --wipe out.")
    change, edit = read_change(options.file, lambda _: Edit(REMOVE_HOST, name))
    if not (change.has_diff or dead):
        known = ", ".join(host.name for host in change.before.spec.hosts)
        raise ShoalError(f"the spec has no host {name}", resolution=f"It has {known}.")

    def make(facts: Facts) -> Plan:
        before, after = change.before.spec, change.after.spec
        leave = Leave(before, after, options.file, edit, change.has_diff, wipe=wipe, is_dead=dead)
        return plan_remove(leave, facts)

    return work(change, change.before, make, options)
