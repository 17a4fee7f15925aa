"""A host leaves the storage: its data, its place in Ceph, all that Shoal has on it, and last its entry in the spec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from shoal.facts import Ceph, Facts, Osd
from shoal.plan import ceph_mons, disk_removal, osd_removal, shared_sr, spec_edit, volume_clients
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

    @property
    def host(self) -> str:
        return self.edit.host


def plan_remove(leave: Leave, facts: Facts) -> Plan:
    """Each part only while it is there, so that a run that was cut off goes on."""
    leaving = {osd.id for osd in _osds(leave, facts)}
    problems = _problems(leave, facts, leaving)
    if problems or facts.ceph is None:
        return Plan((), problems)
    stop = _of_host(leave, "keeper_removal", "the keeper would bring back what is taken away")
    actions = [stop, *_pbds(leave, facts, stop)]
    first = _ids(actions)
    actions += [replace(action, needs=action.needs | first) for action in _disks(leave, facts)]
    actions.append(_ceph_host(leave, facts.ceph, _ids(actions)))
    actions += _rest(leave, facts, _ids(actions))
    actions.append(_other_clients(leave, facts, _ids(actions)))
    actions += _other_pbds(leave, facts, _ids(actions))
    actions.append(spec_edit.plan(leave.file, leave.edit, changes=leave.changes_spec, after=_ids(actions)))
    return Plan(tuple(actions))


def _problems(leave: Leave, facts: Facts, leaving: set[int]) -> tuple[Problem, ...]:
    found = [*find_dangers(leave.spec, facts, leaving)]
    if found or facts.ceph is None:
        return tuple(found)
    seen = facts.host(leave.host)
    if seen is None or not seen.live or seen.dom0 is None:
        why = "the pool has no such host" if seen is None else seen.unreachable or "it is not live"
        what = f"{leave.host} cannot be asked, and what Shoal has on it cannot be taken away: {why}"
        found.append(Problem(what, "start it, or look at its network"))
    mons = len(ceph_mons.mon_hosts(leave.edited))
    if mons < MONS_MIN <= len(facts.ceph.mons):
        what = f"{mons} monitor would be left: none of the rest could be lost"
        found.append(Problem(what, "add another host first: shoal host add"))
    lack = why_no_place(leave.spec, facts.ceph, leaving) if leaving else None
    return tuple(found + ([lack] if lack else []))


def _osds(leave: Leave, facts: Facts) -> list[Osd]:
    name = storage_vm_name(leave.host)
    return [osd for osd in (facts.ceph.osds if facts.ceph else ()) if osd.host == name]


def _pbds(leave: Leave, facts: Facts, stop: Action) -> list[Action]:
    """First: a VM that runs there on such an SR makes this fail, and then nothing else is done."""
    wanted = {(sr.name, sr.type) for sr in leave.spec.srs}  # a stranger's may have such a name, too
    srs = [sr for sr in facts.srs if sr.shared and (sr.name, sr.type) in wanted and has_pbd(sr, leave.host)]
    if not srs:
        return []
    names = tuple(sr.name for sr in srs)
    reason = f"{', '.join(names)} unplugged there; VMs that use it must have left"
    settings = {"srs": tuple(sr.uuid for sr in srs)}
    unplug = Action("pbd_removal", leave.host, Change.UPDATE, reason, leave.host, frozenset({stop.id}), settings)
    images = tuple(image_in_pool(sr.pool, sr.name) for sr in leave.spec.lvm_srs)
    if not images:
        return [unplug]
    unmap = _of_host(leave, "rbd_map_removal", f"{', '.join(images)}: unmapped", frozenset({unplug.id}))
    return [unplug, replace(unmap, settings={"images": images})]


def _disks(leave: Leave, facts: Facts) -> list[Action]:
    """All OSDs are emptied at the same time. One that no disk of the spec explains is emptied, too."""
    host, actions = leave.spec.host(leave.host), []
    left = {osd.id: osd for osd in _osds(leave, facts)}
    for number in host.disk_numbers:
        osd = osd_removal.find_osd(facts, host, number)
        if isinstance(osd, Osd) and osd.id in left:
            del left[osd.id]
            actions.append(osd_removal.plan(host, number, osd, keep_id=False, drain=True))
    for osd in left.values():
        action = osd_removal.plan(host, host.disk_numbers[0], osd, keep_id=False, drain=True)
        actions.append(replace(action, target=f"{leave.host}:osd.{osd.id}"))
    after = _ids(actions)
    there = [number for number in host.disk_numbers if disk_removal.is_there(facts, leave.host, number)]
    return actions + [disk_removal.plan(facts, leave.host, n, wipe=leave.wipe, after=after) for n in there]


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
    }
    change = Change.UPDATE if is_there else Change.NONE
    reason = "its monitor and manager move to other hosts; then it is no host of the cluster any more"
    reason = reason if is_there else "it is no host of the cluster"
    return Action("ceph_host_removal", leave.host, change, reason, leave.host, after, settings)


def _rest(leave: Leave, facts: Facts, after: frozenset[str]) -> list[Action]:
    actions = []
    vm = _of_host(leave, "storage_vm_removal", "the VM, its system disk and its config drive", after)
    actions.append(vm)
    if sr_named(facts, passthrough_sr_name(leave.host), host=leave.host):
        actions.append(_of_host(leave, "passthrough_sr_removal", "forgotten", _ids([vm])))
    kit = _of_host(leave, "dom0_kit_removal", "all of Shoal's files in dom0", _ids(actions))
    return [*actions, replace(kit, settings={"folders": LVM_FOLDERS})]


def _other_pbds(leave: Leave, facts: Facts, after: frozenset[str]) -> list[Action]:
    """The driver on the other hosts no longer asks there."""
    names = {sr.name for sr in leave.edited.srs if sr.type == "rbd"}
    planned = [action for action in shared_sr.plan(leave.edited, facts) if action.target in names]
    reason = f"the other hosts forget the monitor and the volume service of {leave.host}"
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
