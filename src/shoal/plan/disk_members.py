"""The pool's own disks come, go and are replaced: what of the spec's plan that is, and why it must not be. Pure.

A disk comes in as a change of the spec that `apply` would carry out, too; out only by these plans.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from shoal.facts import Facts, Osd
from shoal.plan import disk_removal, osd_removal, spec_edit
from shoal.plan.action import Action, Change, Plan, Problem
from shoal.plan.found import disk_of, partition_named
from shoal.plan.planner import make_plan
from shoal.plan.redundancy import find_dangers, why_no_place, why_unseen
from shoal.spec import model
from shoal.spec.edit import Edit
from shoal.spec.model import Spec
from shoal.spec.names import disk_name, disk_target


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked for: the spec now and afterwards, its file, and the disk's number on its host."""

    spec: Spec
    edited: Spec
    file: Path
    edit: Edit
    number: int
    changes_spec: bool = True
    wipe: bool = False  # erase what leaves

    @property
    def host(self) -> model.Host:
        return self.spec.host(self.edit.host)


def find_number(host: model.Host, facts: Facts | None, name: str) -> int | None:
    """The number of the disk that a person means: its number, its stable name or the end of that."""
    for number, disk in host.numbered_disks:
        if name in (str(number), disk.device, disk.device.rpartition("/")[2]):
            return number
    seen = facts.host(host.name) if facts else None
    disk_seen = disk_of(seen, name) or disk_of(seen, f"/dev/disk/by-id/{name}")
    for number in range(1, model.DISK_NUMBER_MAX + 1):  # taken out of the spec, and still there
        found = partition_named(seen, disk_name(host.name, number))
        if number not in host.disk_numbers and found and (found[0] == disk_seen or name == str(number)):
            return number
    return None


def plan_add(work: Work, facts: Facts) -> Plan:
    """The spec first: then `apply` can end what was cut off here."""
    edit = spec_edit.plan(work.file, work.edit, changes=work.changes_spec)
    return _with_apply(work, facts, [edit], why_unseen(work.edited, facts))


def plan_replace(work: Work, facts: Facts) -> Plan:
    host, number = work.host, work.number
    twice = disk_removal.find_twice(facts, host.name, number)
    if twice:
        return Plan((), twice)
    new = str(work.edit.entry["device"])
    is_old = disk_removal.is_there(facts, host.name, number, new_device=new)
    found = osd_removal.find_osd(facts, host, number) if is_old else None
    if isinstance(found, Problem):
        return Plan((), (found,))
    dangers = find_dangers(work.spec, facts, {found.id} if found else ())
    if dangers:
        return Plan((), dangers)
    assert facts.ceph, "find_dangers has seen it"
    actions = []
    if found:
        drain = found.up and why_no_place(work.spec, facts.ceph, {found.id}) is None
        actions.append(osd_removal.plan(host.name, number, found, keep_id=True, drain=drain))
    if is_old:
        actions.append(disk_removal.plan(facts, host.name, number, wipe=work.wipe, after=_ids(actions)))
    actions.append(spec_edit.plan(work.file, work.edit, changes=work.changes_spec, after=_ids(actions)))
    then = _without(work, facts, found, keep_id=True) if is_old else facts
    return _with_apply(work, then, actions, ())


def plan_remove(work: Work, facts: Facts) -> Plan:
    host, number = work.host, work.number
    unclear = disk_removal.find_unseen(facts, host.name) or disk_removal.find_twice(facts, host.name, number)
    if unclear:
        return Plan((), unclear)
    found = osd_removal.find_osd(facts, host, number)
    if isinstance(found, Problem):
        return Plan((), (found,))
    problems = [*find_dangers(work.spec, facts, {found.id} if found else ())]
    if not problems and found and facts.ceph:
        lack = why_no_place(work.spec, facts.ceph, {found.id})
        problems += [lack] if lack else []
    if problems:
        return Plan((), tuple(problems))
    actions = [osd_removal.plan(host.name, number, found, keep_id=False, drain=True)] if found else []
    if disk_removal.is_there(facts, host.name, number):
        actions.append(disk_removal.plan(facts, host.name, number, wipe=work.wipe, after=_ids(actions)))
    actions.append(spec_edit.plan(work.file, work.edit, changes=work.changes_spec, after=_ids(actions)))
    return Plan(tuple(actions))


def _without(work: Work, facts: Facts, osd: Osd | None, *, keep_id: bool) -> Facts:
    """The facts when the old disk is gone."""
    left = disk_removal.without_disk(facts, work.host, work.number, wipe=work.wipe)
    if osd is None or left.ceph is None:
        return left
    return replace(left, ceph=replace(left.ceph, osds=osd_removal.without_osd(left.ceph, osd, keep_id=keep_id)))


def _with_apply(work: Work, facts: Facts, first: Collection[Action], problems: tuple[Problem, ...]) -> Plan:
    """What is to be done first, and then the spec's own plan for this disk; anything else that it wants is refused."""
    host, target = work.host.name, disk_target(work.host.name, work.number)
    # A storage VM whose disk is dead does not start; without that disk it does.
    own = {f"partition/{target}", f"ceph_osd/{target}"}
    own |= {f"{kind}/{host}" for kind in ("passthrough_sr", "storage_vm", "storage_vm_ready")}
    return with_apply(work.edited, facts, first, problems, lambda action: action.id in own)


def with_apply(
    edited: Spec,
    facts: Facts,
    first: Collection[Action],
    problems: tuple[Problem, ...],
    is_own: Callable[[Action], bool],
) -> Plan:
    """What is to be done first, and then the spec's own plan, of which only what is meant may change anything."""
    wanted = make_plan(edited, facts)
    others = [action.id for action in wanted.changes if not is_own(action)]
    if others and not problems and not wanted.problems:
        what = f"the spec wants other changes, too: {', '.join(others[:5])}{' …' if len(others) > 5 else ''}"
        problems = (Problem(what, "shoal apply first; this command changes nothing else"),)
    after = _ids(first)
    rest = tuple(
        replace(action, needs=action.needs | after) if action.change is not Change.NONE else action
        for action in wanted.actions
    )
    return Plan((*first, *rest), (*problems, *wanted.problems))


def _ids(actions: Collection[Action]) -> frozenset[str]:
    return frozenset(action.id for action in actions)
