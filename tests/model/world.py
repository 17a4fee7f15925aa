"""A pool in memory for the tests of plan and engine: facts, and what each kind of step does to them, stage by stage.

It stands in for nothing that is tested elsewhere: it says only what the facts are after a step, or after a part of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shoal import facts
from shoal.facts import Facts
from shoal.kit.secret import Secret
from shoal.kit.sizes import GiB, MiB
from shoal.plan import ceph_image, ceph_mons, ceph_user, lvm_conf, rbd_map, shared_sr
from shoal.plan.action import Action
from shoal.spec.model import Spec
from shoal.spec.names import (
    IMAGE_FEATURES,
    LVM_FOLDERS,
    VOLUME_SERVICE,
    disk_name,
    disk_target,
    image_in_pool,
    passthrough_sr_name,
    storage_vm_name,
)
from shoal.steps import settings
from tests.model.namespaces import make_namespace as _ceph_namespace  # noqa: F401  a kind, found below by its name
from tests.model.storage_vms import make_storage_vm as _storage_vm  # noqa: F401  the same

CA = "ca" * 32
WANTED = {"kit": "kit" * 20, "volume_service": "vol" * 20, "storage_vm_image": "img" * 20}

LVM_CONF = 'devices {\nscan = [ "/dev/disk/by-id" ]\ntypes = [ "scini", 16 ]\n}'


def by_id(host: str, number: int = 1) -> str:
    return f"/dev/disk/by-id/scsi-SHOAL-{host}-{number}"


def make_spec(host_count: int = 3, disks_per_host: int = 1, **changes: object) -> Spec:
    names = [f"xen{n}" for n in range(1, host_count + 1)]
    values: dict[str, object] = {
        "pool": {"url": "https://10.77.0.11", "password": Secret("never shown")},
        "network": {"public": {"bridge": "xenbr0", "cidr": "10.77.0.0/24"}},
        "hosts": [
            {
                "name": name,
                "storage_vm": {"address": f"10.77.0.{20 + index}"},
                "disks": [
                    {"device": by_id(name, number), "use": "free-space" if number == 1 else "whole-disk"}
                    for number in range(1, disks_per_host + 1)
                ],
            }
            for index, name in enumerate(names, start=1)
        ],
        "storage_vm": {"image": Path("/images/storage-vm.img")},
        "ceph": {
            "image": "quay.io/ceph/ceph:v18.2.7",
            "replicas": min(3, host_count),
            "min_replicas": min(2, host_count),
            "osd_memory": "1GiB",
            "settings": {"mon/mon_data_avail_warn": 5, "osd_heartbeat_grace": 10},
        },
        "srs": [
            {"name": "shoal", "type": "rbd", "pool": "rbd", "namespace": "xen", "data_pool": "bulk", "default": True},
            {"name": "shoal LVM", "type": "lvm", "pool": "lvm", "image_size": "4TiB"},
        ],
    }
    return Spec.model_validate({**values, **changes})


def make_facts(host_count: int = 3, disks_per_host: int = 1) -> Facts:
    """A pool that Shoal has never touched, with things of its owner that it must leave alone."""
    names = [f"xen{n}" for n in range(1, host_count + 1)]
    return Facts(
        pool=facts.Pool(
            uuid="pool", name="lab", master="xen1", default_sr="sr-local-xen1", ha_enabled=False,
            networks={"xenbr0": "net0"}, sm_types=("ext", "udev", "lvm"), other_config={"owner": "somebody"},
            secrets=("somebody's secret",),
        ),
        hosts=tuple(_host(name, index, disks_per_host) for index, name in enumerate(names, start=1)),
        srs=tuple(
            facts.Sr(f"sr-local-{n}", "Local storage", "ext", False, (facts.Pbd(f"pbd-{n}", n, True, {}),), 100 * GiB)
            for n in names
        ),
        vdis=tuple(facts.Vdi(f"vdi-{name}", "somebody's disk", f"sr-local-{name}", "x", GiB) for name in names),
        wanted_digests=WANTED,
    )  # fmt: skip


def _host(name: str, index: int, disk_count: int) -> facts.Host:
    root = facts.Partition(1, "/dev/sda1", facts.Range(MiB, 8 * GiB), "root", f"root-{name}", "ext4", "mounted on /")
    first = facts.Disk("/dev/sda", (by_id(name, 1),), 40 * GiB, 512, "gpt", (root,), (facts.Range(8 * GiB, 31 * GiB),))
    others = tuple(
        facts.Disk(f"/dev/sd{chr(ord('a') + number - 1)}", (by_id(name, number),), 20 * GiB)
        for number in range(2, disk_count + 1)
    )
    lvm = tuple(facts.LvmConf(folder, LVM_CONF, "# the owner's\n") for folder in LVM_FOLDERS)
    dom0 = facts.Dom0("4.19.0+1", facts.Kit(""), ("ext", "udev", "lvm"), 0.1, (first, *others), lvm=lvm)
    return facts.Host(
        name, f"host-{name}", f"10.77.0.{10 + index}", index == 1, True, True, "XCP-ng 8.3.0", 16 * GiB, 12 * GiB, dom0
    )


def stages(spec: Spec, before: Facts, action: Action) -> Iterator[Facts]:
    """The world after each part of this step; the last one is the whole of it. Raises KeyError for an unknown kind."""
    yield from _KINDS[action.kind](spec, before, action)


def _change_dom0(world: Facts, host: str, **changes: Any) -> Facts:
    def changed(seen: facts.Host) -> facts.Host:
        assert seen.dom0
        return replace(seen, dom0=replace(seen.dom0, **changes)) if seen.name == host else seen

    return replace(world, hosts=tuple(map(changed, world.hosts)))


def _dom0(world: Facts, host: str) -> facts.Dom0:
    seen = world.host(host)
    assert seen and seen.dom0
    return seen.dom0


def _dom0_kit(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    dom0 = _dom0(world, action.target)
    yield _change_dom0(world, action.target, kit=replace(dom0.kit, digest="half of the files"))
    yield (world := _change_dom0(world, action.target, kit=replace(dom0.kit, digest=WANTED["kit"])))
    yield (world := _change_dom0(world, action.target, sm_plugins=tuple(sorted({*dom0.sm_plugins, "rbd"}))))
    yield _change_dom0(world, action.target, kit=replace(_dom0(world, action.target).kit, keeper_runs=True))


def _pool_key(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    yield replace(world, pool=(pool := replace(world.pool, secrets=(*world.pool.secrets, "key"))))
    yield replace(world, pool=replace(pool, other_config={**pool.other_config, "shoal:ssh-key": "key"}))


def _partition(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    host, _, number = action.target.partition(":")
    dom0, device = _dom0(world, host), action.settings["device"]
    disk = next(disk for disk in dom0.disks if device in disk.links)
    others = disk.partitions if action.settings["use"] == "free-space" else ()
    start = disk.free[0] if disk.free else facts.Range(MiB, disk.size_bytes - 2 * MiB)
    made = facts.Partition(
        len(others) + 1, f"{disk.device}{len(others) + 1}", start, str(action.settings["name"]), f"part-{host}-{number}"
    )

    def with_disk(new: facts.Disk) -> Facts:
        return _change_dom0(world, host, disks=tuple(new if old is disk else old for old in dom0.disks))

    yield with_disk(replace(disk, table="gpt", partitions=others, contents=None))
    yield with_disk(replace(disk, table="gpt", partitions=(*others, made), free=(), contents=None))


def _passthrough_sr(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    host, name = action.target, passthrough_sr_name(action.target)
    numbers = spec.host(host).disk_numbers
    links = {disk_name(host, n): f"/dev/disk/by-partuuid/part-{host}-{n}" for n in numbers}
    world = _change_dom0(world, host, passthrough_links=links)
    yield world
    sr = facts.Sr(f"sr-disks-{host}", name, "udev", False, (facts.Pbd(f"pbd-disks-{host}", host, True, {}),))
    world = replace(world, srs=(*(other for other in world.srs if other.uuid != sr.uuid), sr))
    yield world
    for number in numbers:
        mark = {"shoal:disk": disk_target(host, number)}
        vdi = facts.Vdi(f"vdi-disk-{host}-{number}", disk_name(host, number), sr.uuid, "x", GiB, mark)
        if vdi not in world.vdis:
            world = replace(world, vdis=(*world.vdis, vdi))
        yield world


def _system_disk(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    sr = next(sr for sr in world.srs if sr.name == "Local storage" and sr.pbds[0].host == action.target)
    half = facts.Vdi(f"vdi-system-{action.target}", str(action.settings["name"]), sr.uuid, "x", 20 * GiB)
    others = tuple(vdi for vdi in world.vdis if vdi.uuid != half.uuid)
    yield replace(world, vdis=(*others, half))
    yield replace(world, vdis=(*others, replace(half, other_config={"shoal:image": WANTED["storage_vm_image"]})))


def _storage_vm_ready(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    guest = facts.Guest(True, 0.0)

    def with_vm(**changes: Any) -> Facts:
        vms = tuple(replace(vm, **changes) if vm.host == action.target else vm for vm in world.storage_vms)
        return replace(world, storage_vms=vms)

    yield with_vm(power_state="Running", resident_on=action.target, unreachable="connection refused")
    yield with_vm(power_state="Running", resident_on=action.target, guest=replace(guest, is_ready=False))
    yield with_vm(power_state="Running", resident_on=action.target, guest=guest)


def _toolstack(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    pool = replace(world.pool, sm_types=tuple(sorted({*world.pool.sm_types, "rbd"})))
    yield (world := replace(world, pool=pool))
    hosts = (replace(h, toolstack_kit=WANTED["kit"]) if h.name == action.target else h for h in world.hosts)
    yield replace(world, hosts=tuple(hosts))


def _ceph(world: Facts, **changes: Any) -> Facts:
    assert world.ceph
    return replace(world, ceph=replace(world.ceph, **changes))


def _ceph_cluster(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    name, address = str(action.settings["name"]), str(action.settings["address"])
    fsid = "fsid" if world.ceph is None else world.ceph.fsid  # a second cluster would show as another fsid
    yield replace(world, ceph=facts.Ceph(fsid, "HEALTH_WARN", unreachable="it is being made"))
    mon = facts.Mon(name, address, 6789, True)
    ceph = facts.Ceph(
        fsid, "HEALTH_WARN", mons=(mon,), mgrs=(facts.Mgr(name, name, True),), certificate_authority=CA
    )  # fmt: skip
    yield replace(world, ceph=ceph)


def _ceph_host(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    host = facts.CephHost(str(action.settings["name"]), str(action.settings["address"]))
    yield _ceph(world, hosts=(*(other for other in world.ceph.hosts if other.name != host.name), host))


def _ceph_settings(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    done = dict(world.ceph.settings)
    for name, value in settings.table(action, "settings").items():
        done[name] = f"{float(value):.6f}" if value.replace(".", "").isdigit() else value  # as Ceph writes numbers
        yield _ceph(world, settings=dict(done))


def _ceph_mons(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    mons = list(world.ceph.mons)
    for host in spec.hosts:
        name = storage_vm_name(host.name)
        if host.name in settings.texts(action, "hosts") and all(mon.name != name for mon in mons):
            mons.append(facts.Mon(name, str(host.storage_vm.address), 6789, True))
        yield _ceph(world, mons=tuple(mons))


def _ceph_mgrs(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    names = settings.texts(action, "names")
    yield _ceph(world, mgrs=tuple(facts.Mgr(n, n, n == names[0]) for n in names))


def _ceph_osd(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    host, _, number = action.target.partition(":")
    osd = facts.Osd(len(world.ceph.osds), storage_vm_name(host), True, True, (f"part-{host}-{number}",))
    yield _ceph(world, osds=(*world.ceph.osds, osd))


def _ceph_pool(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    others = tuple(pool for pool in world.ceph.pools if pool.name != action.target)
    yield _ceph(world, pools=(*others, facts.CephPool(action.target, 3, 2)))
    size, min_size = spec.ceph.replicas, spec.ceph.min_replicas
    yield _ceph(world, pools=(*others, facts.CephPool(action.target, size, min_size)))
    yield _ceph(world, pools=(*others, facts.CephPool(action.target, size, min_size, ("rbd",))))


def _ceph_user(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    rights = ceph_user.rights_for(spec, world.srs)[action.target]
    yield _ceph(world, users={**world.ceph.users, action.target: rights})


def _with_guests(world: Facts, *, host: str = "", **changes: Any) -> Facts:
    def changed(vm: facts.StorageVm) -> facts.StorageVm:
        return replace(vm, guest=replace(vm.guest, **changes)) if vm.guest and host in ("", vm.host) else vm

    return replace(world, storage_vms=tuple(map(changed, world.storage_vms)))


def _volume_service(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    yield (world := _with_guests(world, host=action.target, volume_service="half the files", volume_service_runs=""))
    yield _with_guests(world, host=action.target, volume_service=WANTED["volume_service"], volume_authority=CA)


def _volume_clients(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    clients = settings.texts(action, "clients")
    for host in settings.texts(action, "hosts"):
        yield (world := _with_guests(world, host=host, volume_clients=clients))


def _volume_services(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    world = _ceph(world, services={**world.ceph.services, VOLUME_SERVICE: 1})
    yield world
    yield _with_guests(world, volume_service_answers=True, volume_service_runs=WANTED["volume_service"])


def _volume_client(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    kit = replace(_dom0(world, action.target).kit, has_client_certificate=True, certificate_authority=CA)
    kit = replace(kit, client=str(action.settings["client"]))
    yield _change_dom0(world, action.target, kit=kit)
    yield _change_dom0(world, action.target, kit=replace(kit, volume_service=str(action.settings["service"])))


def _ceph_image(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    sr = next(sr for sr in spec.lvm_srs if sr.name == action.target)
    image = facts.CephImage(ceph_image.size_of(sr), IMAGE_FEATURES)
    yield _ceph(world, images={**world.ceph.images, image_in_pool(sr.pool, sr.name): image})


def _lvm_conf(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    done = list(_dom0(world, action.target).lvm)
    for index, conf in enumerate(done):
        done[index] = replace(conf, local=lvm_conf.merge(conf))
        yield _change_dom0(world, action.target, lvm=tuple(done))


def _rbd_map(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    assert world.ceph
    maps = replace(_dom0(world, action.target).maps, has_key=True)
    yield _change_dom0(world, action.target, maps=maps)
    monitors = tuple(sorted(ceph_mons.monitor_addresses(spec, world)))
    maps = replace(maps, fsid=world.ceph.fsid, user="shoal-xen", monitors=monitors, images=rbd_map.wanted_images(spec))
    yield _change_dom0(world, action.target, maps=maps)
    yield _change_dom0(world, action.target, maps=(maps := replace(maps, is_enabled=True)))
    yield _change_dom0(world, action.target, maps=replace(maps, mapped=dict.fromkeys(maps.images, "/dev/rbd0")))


def _shared_sr(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    wanted = next(sr for sr in spec.srs if sr.name == action.target)
    config = {"device": shared_sr.device_of(wanted)}
    if wanted.type == "rbd":
        known = ",".join(sorted(ceph_mons.monitor_addresses(spec, world)))
        config = {"monitors": known, "pool": wanted.pool, **shared_sr.driver_settings(spec, wanted)}
    others = tuple(sr for sr in world.srs if sr.name != action.target)
    pbds: tuple[facts.Pbd, ...] = ()
    for host in spec.hosts:
        for attached in (False, True):
            now = (*pbds, facts.Pbd(f"pbd-{action.target}-{host.name}", host.name, attached, config))
            yield replace(world, srs=(*others, facts.Sr(f"sr-{action.target}", action.target, wanted.type, True, now)))
        pbds = now


def _default_sr(spec: Spec, world: Facts, action: Action) -> Iterator[Facts]:
    yield replace(world, pool=replace(world.pool, default_sr=f"sr-{action.settings['sr']}"))


_KINDS: dict[str, Callable[[Spec, Facts, Action], Iterator[Facts]]] = {
    name.removeprefix("_"): function
    for name, function in globals().items()
    if name.startswith(("_dom0_kit", "_pool_key", "_partition", "_passthrough", "_system", "_storage_vm", "_toolstack"))
    or name.startswith(("_ceph_", "_volume_", "_shared_sr", "_default_sr", "_lvm_conf", "_rbd_map"))
}


class Crash(BaseException):
    """The power goes."""


@dataclass
class World:
    """The pool while steps work on it. `crash_after` counts the stages that still happen before the power goes."""

    spec: Spec
    facts: Facts
    crash_after: int = -1
    stages_done: int = 0

    def do(self, action: Action, *, stage_count: int | None = None) -> None:
        """Carry out an action, from wherever it stands, stage by stage."""
        for number, after in enumerate(stages(self.spec, self.facts, action)):
            if number == stage_count or self.stages_done == self.crash_after:
                raise Crash(f"{action.id}, stage {number}")
            self.facts = after
            self.stages_done += 1

    def untouchable(self) -> str:
        """All that is not Shoal's, as text to compare."""
        now = self.facts
        disks = [disk for host in now.hosts if host.dom0 for disk in host.dom0.disks]
        kept = {
            "vdis": sorted(str(vdi) for vdi in now.vdis if vdi.name == "somebody's disk"),
            "srs": sorted(str(sr) for sr in now.srs if sr.name == "Local storage"),
            "roots": sorted(str(p) for disk in disks for p in disk.partitions if p.name == "root"),
            "pool": [now.pool.other_config.get("owner"), now.pool.secrets[0]],
            "lvm": ["# the owner's\n" in conf.local for h in now.hosts if h.dom0 for conf in h.dom0.lvm],
            "plugins": [{"ext", "udev", "lvm"} <= set(h.dom0.sm_plugins) for h in now.hosts if h.dom0],
        }  # fmt: skip
        return json.dumps(kept)

    def twins(self) -> list[str]:
        """Names of things that there are two of."""
        now = self.facts
        names = [f"SR {sr.name}" for sr in now.srs if sr.name != "Local storage"]
        names += [f"VDI {vdi.name} on {vdi.sr}" for vdi in now.vdis]
        names += [f"VM of {vm.host}" for vm in now.storage_vms]
        names += [f"{h.name} {p.name}" for h in now.hosts if h.dom0 for d in h.dom0.disks for p in d.partitions]
        if now.ceph:
            names += [f"OSD on {osd.partition_uuids}" for osd in now.ceph.osds]
            names += [f"mon {mon.name}" for mon in now.ceph.mons]
            names += [f"host {host.name}" for host in now.ceph.hosts]
        return sorted({name for name in names if names.count(name) > 1})
