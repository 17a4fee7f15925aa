"""What Ceph has to say to a host's leaving and coming back. Pure; "" is for "nothing stands against it"."""

from __future__ import annotations

from collections.abc import Iterator

from shoal.facts import Ceph
from shoal.plan.action import Problem
from shoal.spec.names import storage_vm_name

COPIES_MIN = 2  # that Ceph may be let write


def not_clean(ceph: Ceph) -> str:
    """What of the data, the OSDs or the monitors is not as it shall be, in one line."""
    if ceph.unreachable and not ceph.health:
        return f"Ceph does not answer: {ceph.unreachable}"
    found = []
    if ceph.clean_pgs < ceph.pgs:
        found.append(f"{ceph.pgs - ceph.clean_pgs} of {ceph.pgs} placement groups are not active and clean")
    if down := [f"osd.{osd.id}" for osd in ceph.osds if osd.in_cluster and not osd.up and not osd.destroyed]:
        found.append(f"{', '.join(down)} down")
    if lost := [mon.name for mon in ceph.mons if not mon.in_quorum]:
        found.append(f"mon {', '.join(lost)} not in quorum")
    return "; ".join(found)


def not_back(ceph: Ceph, host: str) -> str:
    """What of a host's own daemons does not run yet."""
    if ceph.unreachable and not ceph.health:
        return f"Ceph does not answer: {ceph.unreachable}"
    name = storage_vm_name(host)
    own = [osd for osd in ceph.osds if osd.host == name and not osd.destroyed]
    found = [f"osd.{osd.id} is down" for osd in own if not osd.up]
    found += ["its monitor is not in quorum" for mon in ceph.mons if mon.name == name and not mon.in_quorum]
    return ", ".join(found)


def find_never(ceph: Ceph, host: str) -> Iterator[Problem]:
    """Why no waiting would help: the cluster is too small to spare a host."""
    name = storage_vm_name(host)
    quorum = len(ceph.mons) // 2 + 1
    left = sum(mon.name != name for mon in ceph.mons)
    if left < len(ceph.mons) and left < quorum:
        what = f"without {host} {left} of {len(ceph.mons)} monitors are left, and {quorum} are needed for a quorum"
        yield Problem(what, "a pool of three or more hosts can spare one")
    holders = {osd.host for osd in ceph.osds if osd.in_cluster}
    if name not in holders:
        return
    for pool in ceph.pools:
        copies = min(pool.size, len(holders - {name}))
        if copies < pool.min_size:
            what = f"without {host} Ceph pool {pool.name} has {copies} copies, and min_size is {pool.min_size}"
            yield Problem(what, _spare(pool.name, copies))


def _spare(pool: str, copies: int) -> str:
    """Never min_size 1: what is written then, one disk alone has."""
    if copies >= COPIES_MIN:
        return f"add a host with disks; or let {copies} copies do: ceph osd pool set {pool} min_size {copies}"
    return "add a host with disks; or shut down all VMs that use it, and reboot by hand: Ceph is away meanwhile"


def has_noout(ceph: Ceph, host: str) -> bool:
    return storage_vm_name(host) in ceph.noout_hosts
