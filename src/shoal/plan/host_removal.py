"""A host leaves the storage: its data, its place in Ceph, all that Shoal has on it, and last its entry in the spec.

Of one that is dead only what the others know of it can go. It may be in the spec no more, and in the pool neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from shoal.facts import Ceph, Facts, Host, Osd, Sr
from shoal.plan import ceph_mons, disk_removal, osd_removal, rbd_map, shared_sr, spec_edit, volume_clients
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.found import has_pbd, sr_named
from shoal.plan.redundancy import find_dangers, why_no_place
from shoal.spec.edit import Edit
from shoal.spec.model import Spec
from shoal.spec.names import LVM_FOLDERS, image_in_pool, passthrough_sr_name, storage_vm_name

MONS_MIN = 3


@dataclass(frozen=True, slots=True)
class Leave:
    """What is asked for: the spec with the host and without it."""

    spec: Spec
    edited: Spec
    file: Path
    edit: Edit
    changes_spec: bool = True
    wipe: bool = False  # erase the partitions of its OSDs
    is_dead: bool = False  # it will not come back, so what is on it stays as it is

    @property
    def host(self) -> str:
        return self.edit.host


def plan_remove(leave: Leave, facts: Facts) -> Plan:
    """Each part only while it is there, so that a run that was cut off goes on."""
    leaving = {osd.id for osd in _osds(leave, facts)}
    problems = _problems(leave, facts, leaving)
    if problems or facts.ceph is None:
        return Plan((), problems)
    actions = [] if leave.is_dead else _ways_in(leave, facts)
    first = _ids(actions)
    data = _osds_of_the_dead(leave, facts) if leave.is_dead else _disks(leave, facts)
    actions += [replace(action, needs=action.needs | first) for action in data]
    actions.append(_ceph_host(leave, facts.ceph, _ids(actions)))
    actions += [] if leave.is_dead else _rest(leave, facts, _ids(actions))
    actions.append(_other_clients(leave, facts, _ids(actions)))
    actions += _other_hosts(leave, facts, _ids(actions))
    actions.append(spec_edit.plan(leave.file, leave.edit, changes=leave.changes_spec, after=_ids(actions)))
    return Plan(tuple(actions))


def _problems(leave: Leave, facts: Facts, leaving: set[int]) -> tuple[Problem, ...]:
    name = storage_vm_name(leave.host)
    found = [*find_dangers(leave.spec, facts, leaving, lost=name if leave.is_dead else "")]
    if found or facts.ceph is None:
        return tuple(found)
    seen = facts.host(leave.host)
    if not (leave.changes_spec or seen or _is_in_ceph(leave, facts.ceph)):
        what = f"neither the spec nor the pool nor Ceph knows a host {leave.host}"
        return (Problem(what, "look at its name; if it has left already, shoal apply does what is left to do"),)
    found += _why_not_dead(leave, facts, seen) if leave.is_dead else _of_living(leave, facts, seen)
    mons = len(ceph_mons.mon_hosts(leave.edited))
    if mons < MONS_MIN <= len(facts.ceph.mons):
        what = f"{mons} monitor would be left: none of the rest could be lost"
        found.append(Problem(what, "add another host first: shoal host add"))
    lack = why_no_place(leave.spec, facts.ceph, leaving) if leaving else None
    return tuple(found + ([lack] if lack else []))


def _of_living(leave: Leave, facts: Facts, seen: Host | None) -> Iterator[Problem]:
    """What must be so before the first thing is taken from a host."""
    if seen is None or not seen.live or seen.dom0 is None:
        why = "the pool has no such host" if seen is None else seen.unreachable or "it is not live"
        what = f"{leave.host} cannot be asked, and what Shoal has on it cannot be taken away: {why}"
        yield Problem(what, "start it, or look at its network; if it will never come back: --dead")
        return
    vm, name = facts.storage_vm(leave.host), storage_vm_name(leave.host)
    if (vm is None or vm.guest is None) and any(host.name == name for host in (facts.ceph.hosts if facts.ceph else ())):
        why = vm.unreachable if vm else "there is none"
        yield Problem(f"Ceph's daemons can leave {leave.host} only while its storage VM answers: {why}", "start it")
    if seen.is_master:
        what = f"{leave.host} is the pool's master, and the toolstack manages a shared SR through the master's PBD"
        yield Problem(what, "make another host the master first: xe pool-designate-new-master host-uuid=UUID")
    elif urlsplit(leave.spec.pool.url).hostname == seen.address:
        what = f"pool.url is the address of {leave.host}, which leaves"
        yield Problem(what, "write that of another host there, best the master's")
    srs = {sr.uuid: sr.name for sr in _own_srs(leave, facts)}
    for name in srs.values():
        vms = sorted({user.vm for user in facts.sr_users if user.host == leave.host and srs.get(user.sr) == name})
        if vms:
            what = f"{', '.join(vms)} on {leave.host} {'has' if len(vms) == 1 else 'have'} disks on the SR {name}"
            yield Problem(what, "move or shut down first what uses it there")


def _why_not_dead(leave: Leave, facts: Facts, seen: Host | None) -> Iterator[Problem]:
    """Taken out of Ceph while it runs, it would go on with what it has."""
    vm = facts.storage_vm(leave.host)
    signs = [
        "the pool says that it is live" if seen and seen.live else "",
        "its dom0 answers" if seen and seen.dom0 else "",
        "its storage VM answers" if vm and vm.guest else "",
        *(f"osd.{osd.id} is up" for osd in _osds(leave, facts) if osd.up),
    ]
    said = [sign for sign in signs if sign]
    if said:
        yield Problem(
            f"{leave.host} is not dead: {', '.join(said)}", "remove it without --dead, or switch it off first"
        )


def _is_in_ceph(leave: Leave, ceph: Ceph) -> bool:
    name = storage_vm_name(leave.host)
    return name in {*(host.name for host in ceph.hosts), *(mon.name for mon in ceph.mons), *(o.host for o in ceph.osds)}


def _osds(leave: Leave, facts: Facts) -> list[Osd]:
    name = storage_vm_name(leave.host)
    return [osd for osd in (facts.ceph.osds if facts.ceph else ()) if osd.host == name]


def _shared_srs(leave: Leave, facts: Facts) -> list[Sr]:
    """The spec's; a stranger's may have such a name, too."""
    wanted = {(sr.name, sr.type) for sr in leave.spec.srs}
    return [sr for sr in facts.srs if sr.shared and (sr.name, sr.type) in wanted]


def _own_srs(leave: Leave, facts: Facts) -> list[Sr]:
    """Those that the host has a PBD of."""
    return [sr for sr in _shared_srs(leave, facts) if has_pbd(sr, leave.host)]


def _ways_in(leave: Leave, facts: Facts) -> list[Action]:
    """First: a VM that runs there on such an SR makes this fail, and then nothing else is done."""
    stop = _of_host(leave, "keeper_removal", "the keeper would bring back what is taken away")
    actions, srs = [stop], _own_srs(leave, facts)
    if srs:
        reason = f"{', '.join(sr.name for sr in srs)} unplugged there; VMs that use it must have left"
        actions.append(_unplug(leave, srs, reason, _ids(actions)))
    images = tuple(image_in_pool(sr.pool, sr.name) for sr in leave.spec.lvm_srs)
    if images:  # also where its PBD is gone: a run that was cut off there may have left it mapped
        unmap = _of_host(leave, "rbd_map_removal", f"{', '.join(images)}: unmapped", _ids(actions))
        actions.append(replace(unmap, settings={"images": images}))
    return actions


def _unplug(leave: Leave, srs: list[Sr], reason: str, after: frozenset[str]) -> Action:
    settings = {"srs": tuple(sr.uuid for sr in srs)}
    return replace(_of_host(leave, "pbd_removal", reason, after), settings=settings)


def _disks(leave: Leave, facts: Facts) -> list[Action]:
    """All OSDs are emptied at the same time. One that no disk of the spec explains is emptied, too."""
    host, actions = leave.spec.host(leave.host), []
    left = {osd.id: osd for osd in _osds(leave, facts)}
    together = tuple(left)
    for number in host.disk_numbers:
        osd = osd_removal.find_osd(facts, host, number)
        if isinstance(osd, Osd) and osd.id in left:
            del left[osd.id]
            actions.append(osd_removal.plan(host.name, number, osd, keep_id=False, drain=True, together=together))
    for osd in left.values():
        action = osd_removal.plan(host.name, 0, osd, keep_id=False, drain=True, together=together)
        actions.append(replace(action, target=f"{leave.host}:osd.{osd.id}"))
    after = _ids(actions)
    there = [number for number in host.disk_numbers if disk_removal.is_there(facts, leave.host, number)]
    return actions + [disk_removal.plan(facts, leave.host, n, wipe=leave.wipe, after=after) for n in there]


def _osds_of_the_dead(leave: Leave, facts: Facts) -> list[Action]:
    osds, actions = _osds(leave, facts), []
    together = tuple(osd.id for osd in osds)
    for osd in osds:
        action = osd_removal.plan(leave.host, 0, osd, keep_id=False, drain=True, together=together)
        settings = {**action.settings, "has_daemon": False}
        actions.append(replace(action, target=f"{leave.host}:osd.{osd.id}", settings=settings))
    return actions


def _ceph_host(leave: Leave, ceph: Ceph, after: frozenset[str]) -> Action:
    name = storage_vm_name(leave.host)
    known = next((host for host in ceph.hosts if host.name == name), None)
    is_there = known is not None or any(mon.name == name for mon in ceph.mons)
    others = tuple(storage_vm_name(host.name) for host in leave.edited.hosts)
    settings = {
        "name": name,
        "mons": tuple(storage_vm_name(host.name) for host in ceph_mons.mon_hosts(leave.edited)),
        "mgrs": others[:2],
        "others": others,
        "image": leave.edited.ceph.image,
        "admin": others[0] if known and "_admin" in known.labels else "",
        "is_dead": leave.is_dead,
    }
    change = Change.UPDATE if is_there else Change.NONE
    reason = "its monitor and manager move to other hosts; then it is no host of the cluster any more"
    reason = reason if is_there else "it is no host of the cluster"
    return Action("ceph_host_removal", leave.host, change, reason, leave.host, after, settings)


def _rest(leave: Leave, facts: Facts, after: frozenset[str]) -> list[Action]:
    # The data may have taken hours, and each start of the host's toolstack gives it a PBD of every shared SR.
    reason = "what a restart of the toolstack has brought back; VMs that use it must have left"
    again = _unplug(leave, _shared_srs(leave, facts), reason, after)
    again = replace(again, target=f"{leave.host}, once more")
    vm = _of_host(leave, "storage_vm_removal", "the VM, its system disk and its config drive", after | _ids([again]))
    actions = [again, vm]
    if sr_named(facts, passthrough_sr_name(leave.host), host=leave.host):
        actions.append(_of_host(leave, "passthrough_sr_removal", "forgotten", _ids([vm])))
    kit = _of_host(leave, "dom0_kit_removal", "all of Shoal's files in dom0", _ids(actions))
    marks = _of_host(leave, "host_marks_removal", "the host's marks, and what its keeper has raised", _ids([kit]))
    return [*actions, replace(kit, settings={"folders": LVM_FOLDERS}), marks]


def _other_hosts(leave: Leave, facts: Facts, after: frozenset[str]) -> list[Action]:
    """The driver on them no longer asks there, and what maps images at boot knows the monitors that there are now."""
    names = {sr.name for sr in leave.edited.srs if sr.type == "rbd"}
    planned = [action for action in shared_sr.plan(leave.edited, facts) if action.target in names]
    reason = f"the other hosts forget the monitor and the volume service of {leave.host}"
    planned += rbd_map.plan(leave.edited, facts)
    return [replace(action, change=Change.UPDATE, reason=reason, needs=action.needs | after) for action in planned]


def _other_clients(leave: Leave, facts: Facts, after: frozenset[str]) -> Action:
    """From then on its certificate, or a copy of it, opens nothing."""
    (planned,) = volume_clients.plan(leave.edited, facts)
    reason = f"the other volume services take {leave.host} no more"
    return replace(planned, change=Change.UPDATE, reason=reason, needs=after)


def _of_host(leave: Leave, kind: str, reason: str, after: frozenset[str] = frozenset()) -> Action:
    return Action(kind, leave.host, Change.UPDATE, reason, leave.host, after)


def _ids(actions: list[Action]) -> frozenset[str]:
    return frozenset(action.id for action in actions)
