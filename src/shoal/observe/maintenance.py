"""A look at what taking a host out of service depends on: hosts, PBDs, VMs, Ceph. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shoal import facts
from shoal.clients.connections import Connections
from shoal.clients.xenapi import XenApi
from shoal.kit.errors import ShoalError
from shoal.observe.ceph import look_at_ceph, unreachable
from shoal.observe.pool import Records, read_pool
from shoal.observe.reading import Answer, flag, text, text_table
from shoal.plan.host_marks import HOME_MARK
from shoal.spec.names import storage_vm_name

CLASSES = ("pool", "host", "host_metrics", "SR", "PBD", "VM")
NOT_ASKED = ("VDI", "VBD", "network", "SM")
BOOT_TIMEOUT_S = 30.0  # a dom0 that is just starting, or emulated, is slow
BOOT_FILE = "/proc/sys/kernel/random/boot_id"


async def look_at_maintenance(connections: Connections, names: Sequence[str]) -> facts.Maintenance:
    """`names`: the hosts that shall leave or come back; only of these VMs and dom0 are asked what they would say."""
    xenapi = connections.xenapi
    await xenapi.login()
    found = await asyncio.gather(*(xenapi.records(kind) for kind in CLASSES))
    records: Records = {**dict(zip(CLASSES, found, strict=True)), **{kind: {} for kind in NOT_ASKED}}
    spec = connections.spec
    pool = read_pool(records, {host.name: str(host.storage_vm.address) for host in spec.hosts})
    live = [host.name for host in pool.hosts if host.name in names and host.live]
    connections.know_dom0s({host.name: host.address for host in pool.hosts})
    boots, prevented, ceph = await asyncio.gather(
        asyncio.gather(*(_boot(connections, name) for name in names)),
        asyncio.gather(*(_prevented(xenapi, records, name) for name in live)),
        _ceph(connections, pool.hosts, pool.storage_vms),
    )
    reasons = {vm: why for of_host in prevented for vm, why in of_host.items()}
    return facts.Maintenance(
        hosts=pool.hosts,
        srs=pool.srs,
        storage_vms=pool.storage_vms,
        vms=_ordinary(records, reasons),
        ceph=ceph,
        ha_enabled=pool.pool.ha_enabled,
        boots={name: boot for name, boot in zip(names, boots, strict=True) if boot},
    )


async def read_boot(connections: Connections, host: str) -> str:
    """The id of the boot that a dom0 is in. Raises ShoalError when it does not answer."""
    dom0 = await connections.dom0(host)
    return (await dom0.run(["cat", BOOT_FILE], timeout_s=BOOT_TIMEOUT_S)).stdout.strip()


async def _boot(connections: Connections, host: str) -> str:
    try:
        return await read_boot(connections, host)
    except ShoalError:
        return ""


async def _prevented(xenapi: XenApi, records: Records, name: str) -> dict[str, str]:
    """VM → why the toolstack would not move it away."""
    (ref,) = [ref for ref, host in records["host"].items() if text(host, "name_label") == name]
    found = await xenapi.call("host.get_vms_which_prevent_evacuation", ref)
    return {vm: _told(error) for vm, error in found.items()} if isinstance(found, dict) else {}


def _told(error: object) -> str:
    """An error of XenAPI: its code, and the parameters that are no references."""
    words = [str(word) for word in error] if isinstance(error, list) else [str(error)]
    return ", ".join(word for word in words if word and not word.startswith("OpaqueRef:"))


def _ordinary(records: Records, reasons: dict[str, str]) -> tuple[facts.OrdinaryVm, ...]:
    hosts = {ref: text(host, "name_label") for ref, host in records["host"].items()}
    own = {storage_vm_name(name) for name in hosts.values()}
    found = []
    for ref, vm in records["VM"].items():
        if not _is_ordinary(vm) or text(vm, "name_label") in own:
            continue
        found.append(
            facts.OrdinaryVm(
                uuid=text(vm, "uuid"),
                name=text(vm, "name_label"),
                power_state=text(vm, "power_state"),
                host=hosts.get(text(vm, "resident_on"), ""),
                cannot_move=reasons.get(ref, ""),
                home=text_table(vm, "other_config").get(HOME_MARK, ""),
            )
        )
    return tuple(sorted(found, key=lambda vm: (vm.name, vm.uuid)))


def _is_ordinary(vm: Answer) -> bool:
    kinds = ("is_a_template", "is_a_snapshot", "is_control_domain")
    return not any(flag(vm, kind, default=False) for kind in kinds)


async def _ceph(
    connections: Connections, hosts: Sequence[facts.Host], vms: Sequence[facts.StorageVm]
) -> facts.Ceph | None:
    if connections.spec.ceph.existing is not None:
        return None
    live = {host.name for host in hosts if host.live}
    able = [vm.host for vm in vms if vm.power_state == "Running" and vm.host in live]
    try:
        return await look_at_ceph(await connections.ceph(among=able), "", {})
    except ShoalError as error:
        return unreachable("", f"{error.brief} {error.details}".strip())
