"""Finding in the facts what the spec names. Pure; answers None or "" where there is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec

from shoal.facts import Ceph, Disk, Facts, Host, Partition, Sr, Vdi
from shoal.plan.action import Change
from shoal.spec import model
from shoal.spec.model import Spec

Verdict = tuple[Change, str]
Asked = ParamSpec("Asked")


def numbered_disks(spec: Spec) -> Iterator[tuple[model.Host, int, model.Disk]]:
    """Each disk of the spec with its host and its number there, from 1."""
    for host in spec.hosts:
        for number, disk in host.numbered_disks:
            yield host, number, disk


def disk_of(host: Host | None, device: str) -> Disk | None:
    if host is None or host.dom0 is None:
        return None
    return next((disk for disk in host.dom0.disks if device in disk.links), None)


def partition_named(host: Host | None, name: str) -> tuple[Disk, Partition] | None:
    """A partition by its GPT name, on whichever disk of the host it lies."""
    if host is None or host.dom0 is None:
        return None
    for disk in host.dom0.disks:
        for partition in disk.partitions:
            if partition.name == name:
                return disk, partition
    return None


def sr_named(facts: Facts, name: str, *, host: str = "") -> Sr | None:
    """An SR by name; with `host`, one that this host has a PBD for."""
    for sr in facts.srs:
        if sr.name == name and (not host or has_pbd(sr, host)):
            return sr
    return None


def has_pbd(sr: Sr, host: str) -> bool:
    return any(pbd.host == host for pbd in sr.pbds)


def is_plugged(sr: Sr, host: str) -> bool:
    return any(pbd.host == host and pbd.attached for pbd in sr.pbds)


def vdi_in(facts: Facts, sr: Sr, name: str) -> Vdi | None:
    return next((vdi for vdi in facts.vdis if vdi.sr == sr.uuid and vdi.name == name), None)


def hidden_ceph(facts: Facts) -> str:
    """Why nothing can be said of Ceph although there may be a cluster; "" when it is seen, or surely absent."""
    if facts.ceph is not None:
        return facts.ceph.unreachable
    silent = [vm.host for vm in facts.storage_vms if vm.guest is None]
    return f"the storage VM of {', '.join(silent)} does not answer" if silent else ""


def judge_ceph(
    facts: Facts, look: Callable[Concatenate[Ceph, Asked], Verdict], *asked: Asked.args, **named: Asked.kwargs
) -> Verdict:
    """What `look` says of the cluster when asked that. Unseen: the step itself looks before it acts."""
    hidden = hidden_ceph(facts)
    if hidden:
        return Change.UPDATE, f"cannot be seen yet: {hidden}"
    if facts.ceph is None:
        return Change.CREATE, "there is no Ceph cluster yet"
    return look(facts.ceph, *asked, **named)


def same_value(one: str, other: str) -> bool:
    """Whether two settings mean the same to Ceph, which writes 0.1 as 0.100000."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()
