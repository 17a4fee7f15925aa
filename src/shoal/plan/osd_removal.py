"""An OSD leaves its disk: emptied where its data have another place, stopped, and taken out of the cluster or its map.

`keep_id`: the OSD is destroyed and its id waits for the next disk of the host; else nothing of it is left.
"""

from __future__ import annotations

from shoal.facts import Ceph, Facts, Osd
from shoal.kit.sizes import format_size
from shoal.plan.action import Action, Change, Problem
from shoal.plan.found import partition_named
from shoal.spec import model
from shoal.spec.names import disk_name, disk_target, guest_device, guest_disk_number, storage_vm_name


def find_osd(facts: Facts, host: model.Host, number: int) -> Osd | Problem | None:
    """The OSD on this disk. Where the disk is dead and hides it: the one of this host that no other disk explains."""
    ceph = facts.ceph
    if ceph is None:
        return None
    own = [osd for osd in ceph.osds if osd.host == storage_vm_name(host.name) and not osd.destroyed]
    found = [osd for osd in own if _is_on(osd, facts, host.name, number)]
    if found:
        return found[0]
    unknown = ", ".join(f"osd.{osd.id}" for osd in own if osd.up and not (osd.device or osd.partition_uuids))
    if unknown:
        what = f"Ceph does not say which disk of {host.name} {unknown} lies on, and it runs"
        return Problem(what, "ceph osd metadata; restart that OSD, and look again")
    others = [one for one in host.disk_numbers if one != number]
    left = [
        osd
        for osd in own
        if not osd.up
        and guest_disk_number(osd.device) in (None, number)
        and not any(_is_on(osd, facts, host.name, one) for one in others)
    ]
    if len(left) > 1:
        names = ", ".join(f"osd.{osd.id}" for osd in left)
        what = f"disk {number} of {host.name} cannot be seen, and {names} are down there: which one was on it?"
        return Problem(what, "start the storage VM, so that it can be told")
    return left[0] if left else None


def _is_on(osd: Osd, facts: Facts, host: str, number: int) -> bool:
    partition = partition_named(facts.host(host), disk_name(host, number))
    uuid = partition[1].uuid if partition else ""
    return osd.device == guest_device(number).removeprefix("/dev/") or bool(uuid and uuid in osd.partition_uuids)


def plan(host: str, number: int, osd: Osd, *, keep_id: bool, drain: bool, together: tuple[int, ...] = ()) -> Action:
    """`together`: all that leave with it, so that none of them is filled with the data of another."""
    settings = {
        "osd": osd.id,
        "uuid": osd.uuid,
        "name": storage_vm_name(host),
        "keep_id": keep_id,
        "drain": drain,
        "together": together or (osd.id,),
        "has_daemon": True,
    }
    after = "its id is kept" if keep_id else "then it is taken out of the cluster"
    reason = f"osd.{osd.id}: {_what_becomes(osd, drain=drain)}; {after}"
    change = Change.UPDATE if drain else Change.DESTROY
    return Action("osd_removal", disk_target(host, number), change, reason, host, settings=settings)


def _what_becomes(osd: Osd, *, drain: bool) -> str:
    used = format_size(osd.used_bytes)
    if drain and osd.up:
        return f"its {used} go to the other OSDs first, and nothing is stopped before"
    if drain:
        return f"it is down; Ceph first copies its {used} anew from the other copies"
    if osd.up:
        return f"no other place has room for its {used}: ONE COPY LESS until the new disk is filled"
    return "it is down; the new disk is filled from the other copies"


def without_osd(ceph: Ceph, osd: Osd, *, keep_id: bool) -> tuple[Osd, ...]:
    """The OSDs when it is gone."""
    gone = Osd(osd.id, osd.host, up=False, in_cluster=False, destroyed=True)
    return tuple(gone if one.id == osd.id else one for one in ceph.osds if keep_id or one.id != osd.id)
