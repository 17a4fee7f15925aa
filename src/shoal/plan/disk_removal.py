"""A disk without an OSD is taken from its storage VM and forgotten; its partition gets another name, or is erased."""

from __future__ import annotations

from dataclasses import replace

from shoal.facts import Dom0, Facts
from shoal.plan.action import Action, Change, Problem
from shoal.plan.found import disk_of, partition_named, sr_named, vdi_in
from shoal.spec import model
from shoal.spec.names import disk_name, disk_target, passthrough_sr_name, position_in_guest, retired_name


def is_there(facts: Facts, host: str, number: int, *, new_device: str = "") -> bool:
    """Whether anything of this disk is left; with `new_device`, of one that is not yet that device."""
    seen, name = facts.host(host), disk_name(host, number)
    found = partition_named(seen, name)
    if found:
        new = disk_of(seen, new_device)
        return new is None or found[0].device != new.device
    vm = facts.storage_vm(host)
    has_link = bool(seen and seen.dom0 and name in seen.dom0.passthrough_links)
    sr = sr_named(facts, passthrough_sr_name(host), host=host)
    has_vdi = bool(sr and vdi_in(facts, sr, name))
    return has_link or has_vdi or bool(vm and position_in_guest(number) in vm.disks)


def find_unseen(facts: Facts, host: str) -> tuple[Problem, ...]:
    """A disk that dom0 does not show is dead only where dom0 answers."""
    seen = facts.host(host)
    if seen is not None and seen.dom0 is not None:
        return ()
    why = seen.unreachable or "no reason known" if seen else "the pool has no such host"
    what = f"dom0 of {host} does not answer, so what is on the disk cannot be told: {why}"
    return (Problem(what, "start it, or look at its network"),)


def find_twice(facts: Facts, host: str, number: int) -> tuple[Problem, ...]:
    """A dead disk that was replaced comes back with the name that the new one has by now: which is which?"""
    seen, name = facts.host(host), disk_name(host, number)
    disks = seen.dom0.disks if seen and seen.dom0 else ()
    found = [disk.device for disk in disks if any(part.name == name for part in disk.partitions)]
    if len(found) < 2:
        return ()
    what = f"{' and '.join(found)} of {host} both have a partition {name!r}"
    return (Problem(what, "unplug or erase the one that was replaced"),)


def plan(facts: Facts, host: str, number: int, *, wipe: bool, after: frozenset[str]) -> Action:
    name = disk_name(host, number)
    found = partition_named(facts.host(host), name)
    link = next((link for link in found[0].links if "/by-id/" in link), found[0].device) if found else ""
    settings = {"disk": name, "device": link, "position": position_in_guest(number), "wipe": wipe}
    if not found:
        reason = "dom0 does not see the disk; the storage VM and the pool forget it"
    elif wipe:
        reason = f"taken from the storage VM; partition {found[1].device} WILL BE ERASED"
    else:
        reason = f"taken from the storage VM; partition {found[1].device} stays, as {retired_name(name)!r}"
    change = Change.DESTROY if found and wipe else Change.UPDATE
    return Action("disk_removal", disk_target(host, number), change, reason, host, after, settings)


def without_disk(facts: Facts, host: model.Host, number: int, *, wipe: bool) -> Facts:
    """The facts when it is gone."""
    name, place = disk_name(host.name, number), position_in_guest(number)
    sr = sr_named(facts, passthrough_sr_name(host.name), host=host.name)
    hosts = tuple(
        replace(seen, dom0=_without_partition(seen.dom0, name, wipe=wipe))
        if seen.name == host.name and seen.dom0
        else seen
        for seen in facts.hosts
    )
    return replace(
        facts,
        hosts=hosts,
        vdis=tuple(vdi for vdi in facts.vdis if sr is None or vdi.sr != sr.uuid or vdi.name != name),
        storage_vms=tuple(
            replace(vm, disks={at: vdi for at, vdi in vm.disks.items() if at != place}) if vm.host == host.name else vm
            for vm in facts.storage_vms
        ),
    )


def _without_partition(dom0: Dom0, name: str, *, wipe: bool) -> Dom0:
    disks = tuple(
        replace(
            disk,
            partitions=tuple(
                replace(part, name=retired_name(name)) if part.name == name else part
                for part in disk.partitions
                if not (wipe and part.name == name)
            ),
        )
        for disk in dom0.disks
    )
    links = {link: target for link, target in dom0.passthrough_links.items() if link != name}
    return replace(dom0, disks=disks, passthrough_links=links)
