"""The storage VM of a host: the VM itself, its config drive, its disks, its network interface.

The VM carries Shoal's mark from the call that makes it; its mark shoal:settings is set last, when nothing is missing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from shoal.clients.xenapi import Record, XenApi
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import AUTO_POWERON_BEFORE, system_disk_name
from shoal.steps import config_drive, passthrough_sr, pool_key, records, settings, system_disk, vm_record
from shoal.steps.tools import Tools

timeout_s = 300.0
SETTINGS_MARK = "shoal:settings"
DRIVE_MARK = "shoal:config"
DRIVE_ROLE = "config-drive"
AUTO_POWERON = "auto_poweron"
PLUG_TIMEOUT_S = 120.0


async def apply(action: Action, tools: Tools) -> None:
    host, xenapi, digest = action.target, tools.xenapi, settings.text(action, "digest")
    found = await records.storage_vm(xenapi, host, settings.text(action, "name"))
    system = await system_disk.find(xenapi, host)
    if system is None:
        raise ShoalError(f"{host} has no system disk for its storage VM")
    identity = await _identify(action, xenapi)
    if found is None:
        tools.progress(action, "creating the VM")
        record = vm_record.compose(
            settings.text(action, "name"),
            vcpus=settings.number(action, "vcpus"),
            memory_bytes=settings.number(action, "memory_bytes"),
            affinity=await records.host_ref(xenapi, host),
            marks={records.HOST_MARK: host},
        )
        vm = await xenapi.call_async("VM.create", record, timeout_s=records.CALL_TIMEOUT_S)
    else:
        vm = found[0]
    drive = await _config_drive(action, tools, identity)
    places = settings.table(action, "disks")
    disks = {place: await passthrough_sr.find_disk(xenapi, host, name) for place, name in places.items()}
    await attach(xenapi, vm, {"0": system, "1": drive, **disks})
    await _connect(xenapi, vm, settings.text(action, "bridge"), identity.mac)
    # xapi starts VMs with their host only when the pool says so, too.
    pool = await records.pool_ref(xenapi)
    before = records.config_of(await xenapi.record("pool", pool)).get(AUTO_POWERON, "")
    await records.note_before(xenapi, pool, AUTO_POWERON_BEFORE, before)
    await records.set_mark(xenapi, "pool", pool, AUTO_POWERON, "true")
    await records.set_mark(xenapi, "VM", vm, SETTINGS_MARK, digest)


async def verify(action: Action, tools: Tools) -> str:
    found = await records.storage_vm(tools.xenapi, action.target, settings.text(action, "name"))
    if found is None:
        return "there is no such VM"
    if records.config_of(found[1]).get(SETTINGS_MARK) != settings.text(action, "digest"):
        return "the VM is not complete"
    devices = await _userdevices(tools.xenapi, found[1])
    wanted, is_running = ("0", "1", *settings.table(action, "disks")), found[1]["power_state"] == "Running"
    there = [place for place, vbd in devices.items() if vbd["currently_attached"] or not is_running]
    missing = [place for place in wanted if place not in there]
    return f"the VM lacks its disks {missing}" if missing else ""


async def _identify(action: Action, xenapi: XenApi) -> config_drive.Identity:
    pool_uuid = await xenapi.text("pool.get_uuid", await records.pool_ref(xenapi))
    return config_drive.Identity(
        name=settings.text(action, "name"),
        mac=config_drive.derive_mac(pool_uuid, action.target),
        address=settings.text(action, "address"),
        prefix=settings.number(action, "prefix"),
        gateway=settings.optional_text(action, "gateway"),
        dns=settings.texts(action, "dns"),
        ntp=settings.texts(action, "ntp"),
        public_key=await pool_key.public_key(xenapi),
    )


async def _config_drive(action: Action, tools: Tools, identity: config_drive.Identity) -> str:
    """The VDI with the config drive, on the SR of the system disk."""
    host, xenapi = action.target, tools.xenapi
    files = config_drive.write_files(identity)
    name, digest = f"{identity.name} config drive", config_drive.digest(files)
    present = await records.own_vdis(xenapi, name, host, DRIVE_ROLE)
    for ref, record in present:
        if records.config_of(record).get(DRIVE_MARK) == digest:
            return ref
    # Of another key or a half import. A drive that a VM has is refused: cloud-init has read it already.
    await system_disk.destroy_unmarked(xenapi, present, DRIVE_MARK)
    if any(DRIVE_MARK in records.config_of(record) for _, record in present):
        raise ShoalError(f"the config drive {name!r} was made from other values", resolution="Remove it by hand.")
    system = await system_disk.find(xenapi, host)
    sr = await xenapi.text("VDI.get_SR", system)
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        image = Path(folder) / "config-drive.iso"
        config_drive.build_iso(files, image)
        marks = system_disk.marks(host, DRIVE_ROLE)
        vdi = await system_disk.create_vdi(xenapi, sr, name, system_disk.size_of(image), marks)
        await system_disk.import_image(action, tools, vdi, image)
    await records.set_mark(xenapi, "VDI", vdi, DRIVE_MARK, digest)
    return vdi


async def attach(xenapi: XenApi, vm: str, vdis: dict[str, str]) -> None:
    """A VBD for each place; those that are there are left alone, a wrong one is refused. A running VM gets them now."""
    record = await xenapi.record("VM", vm)
    present = await _userdevices(xenapi, record)
    for place, vdi in vdis.items():
        if place not in present:
            vbd = await xenapi.text("VBD.create", vm_record.compose_vbd(vm, vdi, int(place)))
            if record["power_state"] == "Running":
                await xenapi.call_async("VBD.plug", vbd, timeout_s=PLUG_TIMEOUT_S)
        elif present[place]["VDI"] != vdi:
            raise ShoalError(
                f"disk {place} of {record['name_label']} is not the one that Shoal gave it",
                resolution=f"Give it back, or detach it; Shoal's own system disk is {system_disk_name('HOST')!r}.",
            )
        elif record["power_state"] == "Running" and not present[place]["currently_attached"]:
            await xenapi.call_async("VBD.plug", str(present[place]["ref"]), timeout_s=PLUG_TIMEOUT_S)


async def _userdevices(xenapi: XenApi, vm: Record) -> dict[str, Record]:
    """VBDs of disks by their userdevice, each with its own ref under "ref"."""
    vbds = [{**await xenapi.record("VBD", ref), "ref": ref} for ref in records.refs(vm, "VBDs")]
    return {str(vbd["userdevice"]): vbd for vbd in vbds if vbd["type"] == "Disk"}


async def _connect(xenapi: XenApi, vm: str, bridge: str, mac: str) -> None:
    for ref in records.refs(await xenapi.record("VM", vm), "VIFs"):
        if str((await xenapi.record("VIF", ref))["MAC"]).lower() == mac:
            return
    network = await records.network_ref(xenapi, bridge)
    await xenapi.call("VIF.create", vm_record.compose_vif(vm, network, mac))
