"""Everything back as it was before Shoal, in reverse order: from what is left in the pool to what must go.

Made from what is there and not from the spec, so that an earlier spec's things go, too. An action that has nothing left
to do says so: run again after being killed anywhere, the rest is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shoal.facts import Host, Remains, Sr
from shoal.kit.shipped import DOM0_SERVICES, DOM0_WANTS
from shoal.plan.action import Action, Change, Plan
from shoal.plan.destroy import found
from shoal.plan.destroy.problems import find_problems
from shoal.plan.dom0_kit import SR_TYPE
from shoal.plan.found import Verdict
from shoal.plan.lvm_conf import without_block
from shoal.spec.model import Spec
from shoal.spec.names import DEFAULT_SR_BEFORE, LVM_FOLDERS, passthrough_sr_name, storage_vm_name

Judge = Callable[[Remains, Host], Verdict]
KINDS = (
    *("keeper", "default_sr", "shared_sr", "rbd_map", "storage_vm", "passthrough_sr", "partition"),
    *("dom0_kit", "toolstack", "pool_key", "marks"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What may be lost, as the command line says."""

    wipe: bool = False  # the data on the OSDs' partitions
    with_disks: bool = False  # virtual disks on the shared SRs


def make_plan(spec: Spec, seen: Remains, options: Options) -> Plan:
    keepers = _each_host(seen, "keeper", _judge_keeper)
    default_sr = _default_sr(spec, seen)
    shared_srs = tuple(_shared_sr(spec, seen, sr, options) for sr in found.shared_srs(spec, seen))
    maps = _each_host(seen, "rbd_map", _judge_map, needs=(*keepers, *shared_srs))
    vms = _storage_vms(seen, (*shared_srs, *maps))
    folders = _passthrough_srs(seen, vms)
    partitions = _partitions(seen, options)
    kits = _each_host(seen, "dom0_kit", _judge_kit, needs=(*maps, *folders, *partitions))
    toolstacks = _toolstacks(seen, kits)
    key = _pool_key(seen, vms)
    before = (*keepers, *default_sr, *shared_srs, *maps, *vms, *folders, *partitions, *kits, *toolstacks, *key)
    return Plan((*before, _marks(seen, before)), find_problems(spec, seen, with_disks=options.with_disks))


def _each_host(seen: Remains, kind: str, judge: Judge, *, needs: tuple[Action, ...] = ()) -> tuple[Action, ...]:
    actions = []
    for host in seen.hosts:
        change, reason = judge(seen, host)
        settings = {"folders": LVM_FOLDERS, "images": host.dom0.maps.images if host.dom0 else ()}
        actions.append(Action(kind, host.name, change, reason, host.name, _ids(needs), settings))
    return tuple(actions)


def _judge_keeper(seen: Remains, host: Host) -> Verdict:
    """With the units that map and plug: nothing may bring back what is taken down."""
    enabled = [path.rpartition("/")[2] for path in DOM0_WANTS if path in seen.files.get(host.name, ())]
    left = [unit for unit in DOM0_SERVICES if unit in enabled or unit in seen.services.get(host.name, ())]
    return (Change.REMOVE, f"{', '.join(left)} is to stop first") if left else (Change.NONE, "nothing of it runs")


def _default_sr(spec: Spec, seen: Remains) -> tuple[Action, ...]:
    own = {sr.uuid: sr.name for sr in found.shared_srs(spec, seen)}
    if seen.pool.default_sr not in own:
        return ()
    before = seen.pool.other_config.get(DEFAULT_SR_BEFORE, "")
    sr = seen.disks.sr(before)
    reason = f"back to {sr.name!r}" if sr else "to none: what it was before is not known or gone"
    settings = {"before": before if sr else ""}
    return (Action("default_sr", "pool", Change.UPDATE, reason, settings=settings),)


def _shared_sr(spec: Spec, seen: Remains, sr: Sr, options: Options) -> Action:
    disks = found.disks_on(seen, sr)
    is_foreign = spec.ceph.existing is not None
    reason = "forgotten; its data go with the storage VMs" if not is_foreign else "given back to the Ceph cluster"
    change = Change.DESTROY if disks else Change.REMOVE
    if disks:
        reason = f"with {len(disks)} disks: {_some([disk.name for disk in disks])}"
    needs = {f"keeper/{host.name}" for host in seen.hosts} | {"default_sr/pool"}
    settings = {"uuid": sr.uuid, "with_disks": options.with_disks, "on_existing_cluster": is_foreign}
    return Action("shared_sr", sr.name, change, reason, needs=frozenset(needs), settings=settings)


def _judge_map(_seen: Remains, host: Host) -> Verdict:
    images = host.dom0.maps.images if host.dom0 else ()
    return (Change.REMOVE, f"{', '.join(images)}: unmapped") if images else (Change.NONE, "none is to be mapped")


def _storage_vms(seen: Remains, needs: tuple[Action, ...]) -> tuple[Action, ...]:
    """Also of a host that the pool has no more."""
    known = {host.name for host in seen.hosts}
    hosts = {vm.host for vm in seen.storage_vms}
    hosts |= {disk.other_config["shoal:host"] for disk in seen.disks.disks if "shoal:role" in disk.other_config}
    actions = []
    for name in sorted(known | hosts):
        vms = [vm for vm in seen.storage_vms if vm.host == name]
        disks = found.storage_vm_disks(seen, name)
        change, reason = Change.NONE, f"there is no VM {storage_vm_name(name)!r}"
        if vms or disks:
            what = [f"VM {vm.name!r} ({vm.power_state.lower()})" for vm in vms] + [repr(disk.name) for disk in disks]
            change, reason = Change.REMOVE, _some(what, quoted=False)
        host = name if name in known else ""
        actions.append(Action("storage_vm", name, change, reason, host, _ids(needs)))
    return tuple(actions)


def _passthrough_srs(seen: Remains, vms: tuple[Action, ...]) -> tuple[Action, ...]:
    actions = []
    for host in seen.hosts:
        srs = found.passthrough_srs(seen, host.name)
        change, reason = Change.NONE, f"there is no SR {passthrough_sr_name(host.name)!r}"
        if srs:
            change, reason = Change.REMOVE, "forgotten; the partitions stay as they are"
        actions.append(Action("passthrough_sr", host.name, change, reason, host.name, _ids(vms)))
    return tuple(actions)


def _partitions(seen: Remains, options: Options) -> tuple[Action, ...]:
    actions = []
    for host in seen.hosts:
        for disk, partition in found.partitions(host):
            place = f"{disk.device}, partition {partition.number}"
            change, reason = Change.NONE, f"{place} is kept with its data; --wipe destroys it"
            if options.wipe:
                change, reason = Change.DESTROY, f"{place}: {partition.contents or 'nothing that has a signature'}"
            settings = {"disk": disk.device, "number": partition.number, "name": partition.name}
            needs = frozenset({f"passthrough_sr/{host.name}"})
            actions.append(Action("partition", partition.name, change, reason, host.name, needs, settings))
    return tuple(actions)


def _judge_kit(seen: Remains, host: Host) -> Verdict:
    files = seen.files.get(host.name, ())
    lvm = [conf.folder for conf in host.dom0.lvm if without_block(conf.local) != conf.local] if host.dom0 else []
    left = [*files, *(f"Shoal's block in {folder}/lvmlocal.conf" for folder in lvm)]
    return (Change.REMOVE, _some(left, quoted=False)) if left else (Change.NONE, "nothing of it is there")


def _toolstacks(seen: Remains, kits: tuple[Action, ...]) -> tuple[Action, ...]:
    """One at a time, the master first, as when the driver came."""
    actions, previous = [], _ids(kits)
    for host in sorted(seen.hosts, key=lambda host: not host.is_master):
        change, reason = Change.NONE, f"knows no SRs of type {SR_TYPE}"
        if host.toolstack_kit or (host.is_master and SR_TYPE in seen.pool.sm_types):
            change, reason = Change.UPDATE, "looks at its drivers only when it starts"
        settings = {"is_master": host.is_master}
        actions.append(Action("toolstack", host.name, change, reason, host.name, previous, settings))
        previous = frozenset({f"toolstack/{host.name}"})
    return tuple(actions)


def _pool_key(seen: Remains, vms: tuple[Action, ...]) -> tuple[Action, ...]:
    change, reason = Change.NONE, "the pool holds none"
    if seen.ssh_keys:
        change, reason = Change.REMOVE, "nothing knows it any more"
    return (Action("pool_key", "pool", change, reason, needs=_ids(vms)),)


def _marks(seen: Remains, before: tuple[Action, ...]) -> Action:
    """Last: until then they say what is Shoal's. Those of the storage VMs and of the SRs go with these."""
    own = {vm.name for vm in seen.storage_vms}
    left = [f"{mark.kind} {mark.name}".strip() for mark in seen.marked if mark.kind != "VM" or mark.name not in own]
    left += [f"{seen.alerts} alerts"] if seen.alerts else []
    change, reason = (Change.REMOVE, f"of {_some(left, quoted=False)}") if left else (Change.NONE, "there are none")
    return Action("marks", "pool", change, reason, needs=_ids(before))


def _ids(actions: tuple[Action, ...]) -> frozenset[str]:
    return frozenset(action.id for action in actions)


def _some(names: list[str], *, quoted: bool = True) -> str:
    shown = ", ".join(repr(name) if quoted else name for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
