"""Whether Ceph can do without some OSDs: the reasons why not, each with what to wait for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from shoal.facts import Ceph, Facts, Osd
from shoal.kit.sizes import format_size
from shoal.plan.action import Problem
from shoal.plan.found import hidden_ceph
from shoal.spec.model import Spec
from shoal.spec.names import storage_vm_name

# In a placement group's state: copies are missing, or one of them is wrong.
LOST = ("unfound", "incomplete", "down", "stale", "unknown", "inconsistent")


def find_dangers(spec: Spec, facts: Facts, leaving: Collection[int], *, lost: str = "") -> tuple[Problem, ...]:
    """Why no OSD may be touched now, whatever becomes of its data. `leaving`: those that are about to go.

    `lost`: the monitor that will not come back.
    """
    unseen = why_unseen(spec, facts)
    if unseen or facts.ceph is None:
        return unseen
    resting = [host for host in facts.hosts if host.maintenance and storage_vm_name(host.name) != lost]
    away = [  # its storage VM may still run, and go off at any moment
        Problem(f"{host.name} is in maintenance since {host.maintenance}", f"shoal host maintenance exit {host.name}")
        for host in resting
    ]
    return (*away, *_dangers(facts.ceph, leaving, lost))


def why_unseen(spec: Spec, facts: Facts) -> tuple[Problem, ...]:
    """Why nothing can be said of the OSDs."""
    if spec.ceph.existing is not None:
        what = "with ceph.existing Shoal keeps no disks, and no daemons on the hosts"
        return (Problem(what, "disks: ask whoever keeps that cluster; hosts: docs/how-to/use-an-existing-ceph.md"),)
    ceph, hidden = facts.ceph, hidden_ceph(facts)
    if hidden or ceph is None:
        return (Problem(f"Ceph cannot be asked: {hidden or 'there is no cluster yet'}", "shoal status says more"),)
    return ()


def _dangers(ceph: Ceph, leaving: Collection[int], lost: str) -> Iterator[Problem]:
    if ceph.health == "HEALTH_ERR":
        words = "; ".join(ceph.health_checks) or "no details"
        yield Problem(f"Ceph says HEALTH_ERR: {words}", "mend that first: ceph health detail, in any storage VM")
    for words in ceph.health_checks:
        if "unfound" in words and ceph.health != "HEALTH_ERR":  # a warning only, and in no state before recovery tries
            yield Problem(words, "start the OSD that has them; do not replace it")
    silent = [mon.name for mon in ceph.mons if not mon.in_quorum and mon.name != lost]
    if silent:
        yield Problem(f"not in quorum: mon {', '.join(silent)}", "start its storage VM first")
    for osd in ceph.osds:
        if not osd.up and not osd.destroyed and osd.id not in leaving:
            yield Problem(f"osd.{osd.id} on {osd.host} is down, too", "start it, or replace its disk, and wait first")
    bad = {state: count for state, count in ceph.pg_states.items() if is_in_danger(state)}
    if bad:
        words = ", ".join(f"{count} {state}" for state, count in sorted(bad.items()))
        yield Problem(f"not all data can be reached: {words} placement groups", "wait for Ceph, or mend it first")


def is_in_danger(pg_state: str) -> bool:
    """Whether such a placement group may have its last copy anywhere."""
    words = pg_state.split("+")
    return "active" not in words or any(lost in word for lost in LOST for word in words)


def why_no_place(spec: Spec, ceph: Ceph, leaving: Collection[int]) -> Problem | None:
    """Why all copies do not fit on the OSDs that stay, each copy on another host; None when they do."""
    replicas = max([spec.ceph.replicas, *(pool.size for pool in ceph.pools)])
    stay = [osd for osd in ceph.osds if osd.up and osd.in_cluster and not osd.destroyed and osd.id not in leaving]
    hosts = {osd.host for osd in stay}
    if len(hosts) < replicas:
        what = f"{len(hosts)} hosts with OSDs would be left, and {replicas} copies need {replicas}"
        return Problem(what, "add a disk or a host first, or write fewer replicas")
    if not any(osd.size_bytes for osd in stay):
        return Problem("Ceph does not say how full its OSDs are", "wait until a manager is active, and look again")
    data = max(ceph.used_bytes, sum(osd.used_bytes for osd in ceph.osds)) / replicas
    if any(not osd.up for osd in ceph.osds if osd.id in leaving):
        data = max(data, ceph.stored_bytes)  # Ceph need not count what one that is down uses
    room = sum(min(_room(stay, host) * ceph.nearfull_ratio, data) for host in hosts)
    if room < replicas * data:
        what = (
            f"what is left has room for {format_size(int(room))} up to the near-full mark of {ceph.nearfull_ratio:.0%}"
        )
        what = f"{what}, and {format_size(int(replicas * data))} are used"
        return Problem(what, "add a disk first, or delete virtual disks")
    return None


def _room(osds: Collection[Osd], host: str) -> int:
    return sum(osd.size_bytes for osd in osds if osd.host == host)
