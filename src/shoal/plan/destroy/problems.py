"""Why a pool cannot be put back now: something would be lost that nobody said may be, or could not be reached. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from shoal.facts import Remains, Sr, VirtualDisk
from shoal.plan.action import Problem
from shoal.plan.destroy import found
from shoal.plan.dom0_kit import SR_TYPE
from shoal.spec.model import Spec

SHOWN = 10


def find_problems(spec: Spec, seen: Remains, *, with_disks: bool) -> tuple[Problem, ...]:
    own = found.shared_srs(spec, seen)
    problems = [*_of_hosts(seen), *_of_other_srs(seen, own), *_of_storage_vms(seen)]
    for sr in own:
        problems += _of_disks(found.disks_on(seen, sr), sr, with_disks=with_disks)
    return tuple(problems)


def _of_hosts(seen: Remains) -> Iterator[Problem]:
    for host in seen.hosts:
        if not host.live:
            what = f"the pool says that {host.name} is not live; what Shoal wrote there would stay"
            yield Problem(what, "start it, or take it out of the pool")
        elif host.dom0 is None:
            what = f"no SSH to {host.name} at {host.address}: {host.unreachable}; what Shoal wrote there would stay"
            yield Problem(what, f"try: ssh root@{host.address}")


def _of_other_srs(seen: Remains, own: tuple[Sr, ...]) -> Iterator[Problem]:
    """The driver goes, and an SR that nobody knows needs it."""
    for sr in seen.disks.srs:
        if sr.type == SR_TYPE and sr not in own:
            what = f"SR {sr.name!r} is of type {SR_TYPE} and is not in the spec; without the driver it is lost"
            yield Problem(what, "forget it, or name it in the spec")


def _of_storage_vms(seen: Remains) -> Iterator[Problem]:
    for (host, name), count in Counter((vm.host, vm.name) for vm in seen.storage_vms).items():
        if count > 1:
            yield Problem(
                f"{count} VMs {name!r} carry Shoal's mark of {host}, and one at most is Shoal's", "rename the copy"
            )


def _of_disks(disks: tuple[VirtualDisk, ...], sr: Sr, *, with_disks: bool) -> Iterator[Problem]:
    for disk in disks:
        for user in disk.users:
            if user.attached or user.power_state != "Halted":
                what = f"{disk.name!r} on SR {sr.name!r} is in use: VM {user.vm!r} is {user.power_state.lower()}"
                yield Problem(what, "shut the VM down, or move its disk to another SR: shoal disk move")
    if disks and not with_disks:
        names = ", ".join(f"{disk.name!r} ({_users(disk)})" for disk in disks[:SHOWN])
        more = f" and {len(disks) - SHOWN} more" if len(disks) > SHOWN else ""
        what = f"{len(disks)} virtual disks lie on SR {sr.name!r}: {names}{more}"
        yield Problem(what, "move them with shoal disk move, or say --with-disks to lose them")


def _users(disk: VirtualDisk) -> str:
    vms = ", ".join(user.vm for user in disk.users)
    return f"VM {vms}" if vms else "a snapshot" if disk.is_a_snapshot else disk.uuid
