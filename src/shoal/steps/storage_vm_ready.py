"""Each storage VM runs on its host, has set itself up, and its Docker answers."""

from __future__ import annotations

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.spec.names import storage_vm_name
from shoal.steps import records
from shoal.steps.tools import Tools

timeout_s = 420.0
BOOT_TIMEOUT_S = 360.0
PLUG_TIMEOUT_S = 120.0
# One round trip. boot-finished is cloud-init's own last word; the file is made anew by every boot.
LOOK = """[ -e /var/lib/cloud/instance/boot-finished ] || { echo "cloud-init is still setting it up"; exit 0; }
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || echo "Docker does not answer yet\""""
BEATEN = ("VM_BAD_POWER_STATE", "OTHER_OPERATION_IN_PROGRESS")


async def apply(action: Action, tools: Tools) -> None:
    tools.progress(action, "starting the VM")
    await _start(tools.xenapi, action.target)

    async def look() -> str:
        seen = await _look(action.target, tools)
        tools.progress(action, seen or "ready")
        return seen

    what = f"the storage VM of {action.target} to set itself up"
    await wait_until(look, deadline_s=BOOT_TIMEOUT_S, what=what, every_s=1)


async def verify(action: Action, tools: Tools) -> str:
    return await _look(action.target, tools)


async def _start(xenapi: XenApi, host: str) -> None:
    on_host = await records.host_ref(xenapi, host)
    vm, record = await _found(xenapi, host)
    if record["power_state"] == "Halted":
        await _plug_disks(xenapi, record, on_host)
        try:
            await xenapi.call_async("VM.start_on", vm, on_host, False, False, timeout_s=180)
        except XenApiError as error:
            if error.code not in BEATEN:  # a run that was killed, or xapi's autostart, was quicker
                raise
    elif record["power_state"] == "Running":
        if record["resident_on"] != on_host:
            raise ShoalError(
                f"{storage_vm_name(host)} does not run on {host}, where its disks are",
                resolution="Shut it down and run apply again.",
            )
    else:
        raise ShoalError(
            f"{storage_vm_name(host)} is {record['power_state']}",
            resolution="Resume it, or shut it down, and run apply again.",
        )


async def _plug_disks(xenapi: XenApi, vm: Record, host: str) -> None:
    """Plug what its disks lie on: a toolstack that has just started answers before it has plugged its SRs."""
    vbds = [await xenapi.record("VBD", ref) for ref in records.refs(vm, "VBDs")]
    disks = {str(vbd["VDI"]) for vbd in vbds if not vbd["empty"]}
    for sr in sorted({str((await xenapi.record("VDI", disk))["SR"]) for disk in disks}):
        for pbd in await records.pbds(xenapi, sr):
            if pbd["host"] == host and not pbd["currently_attached"]:
                await xenapi.call_async("PBD.plug", pbd["ref"], timeout_s=PLUG_TIMEOUT_S)


async def _found(xenapi: XenApi, host: str) -> tuple[str, Record]:
    found = await records.storage_vm(xenapi, host, storage_vm_name(host))
    if found is None:
        raise ShoalError(f"{host} has no storage VM")
    return found


async def _look(host: str, tools: Tools) -> str:
    _, record = await _found(tools.xenapi, host)
    if record["power_state"] != "Running":
        return f"its power state is {record['power_state']}"
    guest = await tools.storage_vm(host)
    return (await guest.run(["sh", "-c", LOOK], timeout_s=20)).stdout.strip()
