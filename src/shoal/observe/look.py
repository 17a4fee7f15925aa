"""The whole look: pool, then all dom0s, storage VMs and digests at once, then Ceph. Changes nothing anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from shoal import facts
from shoal.clients.ceph import Ceph
from shoal.clients.connections import Connections
from shoal.clients.ssh import Unreachable
from shoal.kit.errors import ShoalError
from shoal.observe.ceph import look_at_ceph, unreachable
from shoal.observe.digests import wanted_digests
from shoal.observe.dom0 import look_at_dom0
from shoal.observe.guest import Seen, look_at_guest
from shoal.observe.pool import look_at_pool
from shoal.spec.model import Spec
from shoal.spec.names import image_device, image_in_pool, storage_vm_name

HOST_TIMEOUT_S = 45.0
DEAD_HOST_TIMEOUT_S = 5.0
"""For a host that the pool says is dead: it may still answer."""
GUEST_TIMEOUT_S = 20.0

T = TypeVar("T")


async def observe(spec: Spec, connections: Connections) -> facts.Facts:
    """What cannot be reached is None or empty, and its `unreachable` says why. Raises only when the pool is silent."""
    addresses = {host.name: str(host.storage_vm.address) for host in spec.hosts}
    authority = spec.ceph.existing.authority if spec.ceph.existing else None
    digests = asyncio.create_task(wanted_digests(spec.storage_vm.image, connections.state, authority))
    try:
        pool = await look_at_pool(connections.xenapi, addresses)
        connections.know_dom0s({host.name: host.address for host in pool.hosts})
        hosts, guests = await asyncio.gather(
            asyncio.gather(*(_host(host, addresses, connections) for host in pool.hosts)),
            asyncio.gather(*(_guest(vm, connections) for vm in pool.storage_vms)),
        )
        vms = tuple(
            replace(vm, guest=seen.guest) if isinstance(seen, Seen) else replace(vm, unreachable=seen)
            for vm, seen in zip(pool.storage_vms, guests, strict=True)
        )
        seen = facts.Facts(
            pool=pool.pool,
            hosts=tuple(hosts),
            srs=pool.srs,
            vdis=pool.vdis,
            storage_vms=vms,
            sr_users=pool.sr_users,
            seen_at=datetime.now(UTC).isoformat(timespec="seconds"),
            wanted_digests=await digests,
        )
    finally:
        digests.cancel()
    inside = {vm.host: found for vm, found in zip(vms, guests, strict=True) if isinstance(found, Seen)}
    return replace(seen, ceph=_with_partitions(await _ceph(seen, inside, connections), seen))


async def _host(host: facts.Host, wanted: Mapping[str, str], connections: Connections) -> facts.Host:
    if host.name not in wanted:
        return replace(host, unreachable="not asked: the spec does not name it")

    async def look() -> facts.Dom0:
        return await look_at_dom0(await connections.dom0(host.name))

    found = await within(HOST_TIMEOUT_S if host.live else DEAD_HOST_TIMEOUT_S, look)
    return replace(host, dom0=found) if isinstance(found, facts.Dom0) else replace(host, unreachable=found)


async def _guest(vm: facts.StorageVm, connections: Connections) -> Seen | str:
    if vm.power_state != "Running":
        return f"it is {vm.power_state.lower()}"
    if not vm.address:
        return "not asked: the spec does not name its host"

    async def look() -> Seen:
        return await look_at_guest(await connections.storage_vm_with(vm.host, vm.uuid))

    return await within(GUEST_TIMEOUT_S, look)


async def _ceph(seen: facts.Facts, inside: Mapping[str, Seen], connections: Connections) -> facts.Ceph | None:
    if any(guest.is_half_made for guest in inside.values()):
        return None  # to be bootstrapped again, or waited for
    fsid = next((guest.fsid for guest in inside.values() if guest.fsid), "")
    mons = [host for host, guest in inside.items() if guest.has_mon]
    if not mons:
        if fsid:
            return unreachable(fsid, "no monitor runs on any storage VM that answers")
        hidden = [vm.host for vm in seen.storage_vms if vm.guest is None]
        if hidden and _has_traces(seen):
            return unreachable("", f"the storage VMs of {', '.join(hidden)} do not answer")
        return None
    devices = {
        storage_vm_name(host): {
            kernel_name: name for name, kernel_name in guest.devices.items() if name.startswith("xvd")
        }
        for host, guest in inside.items()
    }
    images = [image_in_pool(sr.pool, sr.name) for sr in connections.spec.lvm_srs]
    reasons = []
    for host in mons:
        vm = seen.storage_vm(host)
        assert vm is not None
        ceph = Ceph(await connections.storage_vm_with(host, vm.uuid))
        try:
            found = await look_at_ceph(ceph, fsid, devices, images)
        except ShoalError as error:
            reasons.append(f"{host}: {_told(error)}")
            continue
        if found is None or found.health:
            return found
        reasons.append(f"{host}: {found.unreachable}")
    return unreachable(fsid, "; ".join(reasons))


def _has_traces(seen: facts.Facts) -> bool:
    """Whether there has been a cluster: an SR on it, or an OSD's signature on a partition of ours."""
    partitions = [part for host in seen.hosts if host.dom0 for disk in host.dom0.disks for part in disk.partitions]
    ours = any(part.name.startswith("shoal-osd-") and part.contents is not None for part in partitions)
    return ours or any(sr.type == "rbd" or _lies_on_image(sr) for sr in seen.srs)


def _lies_on_image(sr: facts.Sr) -> bool:
    return any(pbd.device_config.get("device", "").startswith(image_device("")) for pbd in sr.pbds)


def _with_partitions(ceph: facts.Ceph | None, seen: facts.Facts) -> facts.Ceph | None:
    """Which partition of which host an OSD lies on: by the storage VM's disk, its VDI and that VDI's link in dom0."""
    if ceph is None:
        return None
    locations = {vdi.uuid: vdi.location for vdi in seen.vdis}
    links: dict[tuple[str, str], str] = {}
    for vm in seen.storage_vms:
        host = seen.host(vm.host)
        for number, uuid in vm.disks.items():
            target = host.dom0.passthrough_links.get(_last(locations.get(uuid, "")), "") if host and host.dom0 else ""
            if number.isdigit() and int(number) < 26 and "/by-partuuid/" in target:
                links[storage_vm_name(vm.host), f"xvd{chr(ord('a') + int(number))}"] = _last(target).lower()
    osds = tuple(
        replace(osd, partition_uuids=(links[osd.host, osd.device],)) if (osd.host, osd.device) in links else osd
        for osd in ceph.osds
    )
    return replace(ceph, osds=osds)


async def within(timeout_s: float, look: Callable[[], Awaitable[T]]) -> T | str:
    """What was seen, or why nothing was."""
    try:
        async with asyncio.timeout(timeout_s):
            return await look()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except Unreachable as error:
        return error.brief
    except ShoalError as error:
        return _told(error)


def _told(error: ShoalError) -> str:
    return f"{error.brief}: {error.details.splitlines()[0]}" if error.details else error.brief


def _last(path: str) -> str:
    return path.rpartition("/")[2]
