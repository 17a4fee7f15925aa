"""The pool out of XenAPI's records: pure. What a person would see in the pool's own tools, without secrets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from shoal.clients.connections import STORAGE_VM_KEY
from shoal.clients.xenapi import XenApi, XenApiError
from shoal.facts import Host, Pbd, Pool, Sr, SrUser, StorageVm, Vdi
from shoal.observe.reading import Answer, NotUnderstood, flag, number, text, text_table, texts
from shoal.plan.host_marks import LEAVING, MAINTENANCE_MARK, REBOOT_MARK
from shoal.spec.names import storage_vm_name

CLASSES = ("pool", "host", "host_metrics", "SR", "PBD", "VDI", "VM", "VBD", "network", "SM")
NO_REF = "OpaqueRef:NULL"

Records = Mapping[str, Mapping[str, Answer]]
"""Class → ref → record."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the pool says, before anybody else was asked."""

    pool: Pool
    hosts: tuple[Host, ...]
    srs: tuple[Sr, ...]
    vdis: tuple[Vdi, ...]
    storage_vms: tuple[StorageVm, ...]
    sr_users: tuple[SrUser, ...]


async def look_at_pool(xenapi: XenApi, addresses: Mapping[str, str]) -> Seen:
    """`addresses`: of the storage VMs, by host."""
    await xenapi.login()
    records = dict(zip(CLASSES, await asyncio.gather(*(xenapi.records(kind) for kind in CLASSES)), strict=True))
    pool = _only(records["pool"])
    key = text_table(pool, "other_config").get(STORAGE_VM_KEY, "")
    return read_pool(records, addresses, (key,) if key and await _is_secret(xenapi, key) else ())


def read_pool(records: Records, addresses: Mapping[str, str], secrets: tuple[str, ...] = ()) -> Seen:
    hosts = records["host"]
    names = {ref: text(host, "name_label") for ref, host in hosts.items()}
    pool = _only(records["pool"])
    master = text(pool, "master")
    default = records["SR"].get(text(pool, "default_SR"))
    return Seen(
        pool=Pool(
            uuid=text(pool, "uuid"),
            name=text(pool, "name_label"),
            master=names.get(master, ""),
            default_sr=text(default, "uuid") if default else "",
            ha_enabled=flag(pool, "ha_enabled", default=False),
            networks={text(network, "bridge"): text(network, "uuid") for network in records["network"].values()},
            sm_types=tuple(sorted({text(sm, "type") for sm in records["SM"].values()})),
            other_config=text_table(pool, "other_config"),
            secrets=secrets,
        ),
        hosts=tuple(
            sorted(
                (_host(host, records["host_metrics"], is_master=ref == master) for ref, host in hosts.items()),
                key=lambda host: host.name,
            )
        ),
        srs=tuple(read_sr(sr, records["PBD"], names) for sr in records["SR"].values()),
        vdis=tuple(_vdi(vdi, records["SR"]) for vdi in records["VDI"].values() if text(vdi, "SR") in records["SR"]),
        storage_vms=_storage_vms(records, addresses, names),
        sr_users=_sr_users(records, names),
    )


def _host(host: Answer, all_metrics: Mapping[str, Answer], *, is_master: bool) -> Host:
    metrics = all_metrics.get(text(host, "metrics"), {})
    version, marks = text_table(host, "software_version"), text_table(host, "other_config")
    product = f"{version.get('product_brand', '')} {version.get('product_version', '')}".strip()
    return Host(
        name=text(host, "name_label"),
        uuid=text(host, "uuid"),
        address=text(host, "address"),
        is_master=is_master,
        live=flag(metrics, "live", default=False),
        enabled=flag(host, "enabled"),
        product=product,
        memory_total_bytes=number(metrics, "memory_total", 0),
        memory_free_bytes=number(metrics, "memory_free", 0),
        toolstack_kit=marks.get("shoal:kit", ""),
        maintenance=marks.get(MAINTENANCE_MARK, "").removeprefix(LEAVING),
        leaving=marks.get(MAINTENANCE_MARK, "").startswith(LEAVING),
        reboot_due=marks.get(REBOOT_MARK, ""),
    )


def read_sr(sr: Answer, pbds: Mapping[str, Answer], names: Mapping[str, str]) -> Sr:
    own = [pbds[ref] for ref in texts(sr, "PBDs") if ref in pbds]
    return Sr(
        uuid=text(sr, "uuid"),
        name=text(sr, "name_label"),
        type=text(sr, "type"),
        shared=flag(sr, "shared"),
        pbds=tuple(sorted((_pbd(pbd, names) for pbd in own), key=lambda pbd: pbd.host)),
        physical_size_bytes=max(0, number(sr, "physical_size", 0)),
        physical_utilisation_bytes=max(0, number(sr, "physical_utilisation", 0)),
        other_config=text_table(sr, "other_config"),
    )


def _pbd(pbd: Answer, names: Mapping[str, str]) -> Pbd:
    config = text_table(pbd, "device_config")
    return Pbd(
        uuid=text(pbd, "uuid"),
        host=names.get(text(pbd, "host"), ""),
        attached=flag(pbd, "currently_attached"),
        # xapi keeps a reference for each password; a driver that is not so careful is not helped to spread one.
        device_config={key: value for key, value in config.items() if not key.endswith(("password", "secretkey"))},
    )


def _vdi(vdi: Answer, srs: Mapping[str, Answer]) -> Vdi:
    return Vdi(
        uuid=text(vdi, "uuid"),
        name=text(vdi, "name_label"),
        sr=text(srs[text(vdi, "SR")], "uuid"),
        location=text(vdi, "location", ""),
        size_bytes=number(vdi, "virtual_size"),
        other_config=text_table(vdi, "other_config"),
    )


def _storage_vms(records: Records, addresses: Mapping[str, str], names: Mapping[str, str]) -> tuple[StorageVm, ...]:
    found = []
    for host in names.values():
        for vm in records["VM"].values():
            is_ordinary = not (flag(vm, "is_a_template") or flag(vm, "is_a_snapshot", default=False))
            if is_ordinary and text(vm, "name_label") == storage_vm_name(host):
                found.append(_storage_vm(host, vm, records, addresses.get(host, ""), names))
                break
    return tuple(sorted(found, key=lambda vm: vm.host))


def _storage_vm(host: str, vm: Answer, records: Records, address: str, names: Mapping[str, str]) -> StorageVm:
    vbds = [records["VBD"][ref] for ref in texts(vm, "VBDs") if ref in records["VBD"]]
    if text(vm, "power_state") == "Running":  # a disk that it has not been given yet is as good as none
        vbds = [vbd for vbd in vbds if flag(vbd, "currently_attached", default=True)]
    vdis = {text(vbd, "userdevice"): records["VDI"].get(text(vbd, "VDI")) for vbd in vbds}
    return StorageVm(
        host=host,
        uuid=text(vm, "uuid"),
        power_state=text(vm, "power_state"),
        resident_on=names.get(text(vm, "resident_on"), ""),
        address=address,
        disks={device: text(vdi, "uuid") for device, vdi in sorted(vdis.items()) if vdi},
        settings_digest=text_table(vm, "other_config").get("shoal:settings", ""),
    )


def _sr_users(records: Records, names: Mapping[str, str]) -> tuple[SrUser, ...]:
    found = set()
    for vm in records["VM"].values():
        host = names.get(text(vm, "resident_on", NO_REF), "")
        for ref in texts(vm, "VBDs") if host else ():
            vbd = records["VBD"].get(ref, {})
            if flag(vbd, "currently_attached", default=False):
                vdi = records["VDI"].get(text(vbd, "VDI"), {})
                sr = records["SR"].get(text(vdi, "SR", NO_REF), {})
                found |= {SrUser(text(vm, "name_label"), host, text(sr, "uuid"))} if sr else set()
    return tuple(sorted(found, key=lambda user: (user.host, user.vm, user.sr)))


async def _is_secret(xenapi: XenApi, uuid: str) -> bool:
    # Never secret.get_all_records: that answers with all values.
    try:
        await xenapi.call("secret.get_by_uuid", uuid)
    except XenApiError as error:
        if error.code in ("UUID_INVALID", "HANDLE_INVALID"):
            return False
        raise
    return True


def _only(records: Mapping[str, Answer]) -> Answer:
    if len(records) != 1:
        raise NotUnderstood(f"there should be one pool, and there are {len(records)}")
    return next(iter(records.values()))
