"""A disk is taken from its storage VM: VBD, link in dom0, VDI, and last the partition's name, by which it is found.

So a run that was killed is seen to be unfinished until all is done. A disk that is dead is only forgotten.
"""

from __future__ import annotations

from shoal.clients.ssh import Ssh, Unreachable
from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import PASSTHROUGH_FOLDER, guest_device, retired_name, storage_vm_name
from shoal.steps import gpt, passthrough_sr, records, settings
from shoal.steps.destroy import partition
from shoal.steps.tools import Tools

timeout_s = 600.0
UNPLUG_TIMEOUT_S = 120.0
SCRIPT_TIMEOUT_S = 120.0
RELEASE_TIMEOUT_S = 60.0
BLOCK_DEVICES = "/sys/class/block"
# $1 the storage VM's name of the disk, $2 where its kernel shows block devices. An OSD of method lvm lies on a volume,
# which stays when the OSD has stopped; and with a volume on it, the guest's kernel does not let the disk go.
RELEASE = """set -e; d=$(readlink -e "$1") || exit 0; for h in "$2/${d##*/}"/holders/*; do
[ ! -e "$h/dm/name" ] || dmsetup remove --retry "$(cat "$h/dm/name")" >&2; done"""
# $1 stable name of the disk; nothing for one that is not there
FIND = """d=$(readlink -e "$1") || exit 0; echo "$d"; sgdisk --print "$d" 2>&1"""
# $1 disk, $2 number, $3 partition's device, $4 new name. The kernel and udev keep the old name until they are told.
RENAME = """set -e; sgdisk --change-name="$2:$4" "$1" >&2; partx --update --nr "$2" "$1" 2>/dev/null || true
udevadm trigger --action=change --sysname-match="${3##*/}" --subsystem-match=block || true
udevadm settle --timeout=30 || true"""


async def apply(action: Action, tools: Tools) -> None:
    host, xenapi = action.host, tools.xenapi
    vbd = await _find_vbd(xenapi, action)
    if vbd is not None:
        tools.progress(action, "unplugging it from the storage VM")
        if vbd["currently_attached"]:
            await _release(action, tools)
        await _unplug(xenapi, vbd)
        await xenapi.call("VBD.destroy", vbd["ref"])
    dom0, name = await tools.dom0(host), settings.text(action, "disk")
    await dom0.run(["rm", "-f", f"{PASSTHROUGH_FOLDER}/{name}"], timeout_s=SCRIPT_TIMEOUT_S)
    await _forget_vdi(xenapi, host, name)  # without its link no scan brings it back
    found = await _find_partition(dom0, action)
    if found is not None and settings.flag(action, "wipe"):
        await partition.erase(dom0, found[0], found[1], name)
    elif found is not None:
        disk, number, device = found
        words = (disk, str(number), device, retired_name(name))
        await dom0.run(["sh", "-c", RENAME, "sh", *words], timeout_s=SCRIPT_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    if await _find_vbd(tools.xenapi, action) is not None:
        return "the storage VM still has the disk"
    name = settings.text(action, "disk")
    dom0 = await tools.dom0(action.host)
    link = await dom0.run(["test", "-L", f"{PASSTHROUGH_FOLDER}/{name}"], timeout_s=SCRIPT_TIMEOUT_S, check=False)
    if link.code == 0:
        return f"dom0 still has the link {name}"
    return f"there is still a partition {name}" if await _find_partition(dom0, action) else ""


async def _find_vbd(xenapi: XenApi, action: Action) -> Record | None:
    """What the storage VM has at the disk's place."""
    found = await records.storage_vm(xenapi, action.host, storage_vm_name(action.host))
    for ref in records.refs(found[1], "VBDs") if found else ():
        vbd = await xenapi.record("VBD", ref)
        if vbd["userdevice"] == settings.text(action, "position") and vbd["type"] == "Disk":
            return {**vbd, "ref": ref}
    return None


async def _release(action: Action, tools: Tools) -> None:
    """A storage VM that does not answer is left to the unplugging, which says if it does not let go."""
    device = guest_device(int(settings.text(action, "position")) - 1)
    try:
        guest = await tools.storage_vm(action.host)
        await guest.run(["sh", "-c", RELEASE, "sh", device, BLOCK_DEVICES], timeout_s=RELEASE_TIMEOUT_S)
    except Unreachable as error:
        tools.progress(action, f"the storage VM does not answer: {error.brief}")


async def _unplug(xenapi: XenApi, vbd: Record) -> None:
    if not vbd["currently_attached"]:
        return
    try:
        await xenapi.call("VBD.set_unpluggable", vbd["ref"], True)  # Shoal's own are not, for anybody else
        await xenapi.call_async("VBD.unplug", str(vbd["ref"]), timeout_s=UNPLUG_TIMEOUT_S)
    except XenApiError as error:
        if error.code == "DEVICE_ALREADY_DETACHED":
            return
        raise ShoalError(
            f"the storage VM does not let the disk at place {vbd['userdevice']} go: {error.code}",
            details=error.details,
            resolution="Shut that storage VM down (ceph osd set noout first) and run the same command again.",
        ) from error


async def _forget_vdi(xenapi: XenApi, host: str, name: str) -> None:
    """The record only: an SR of type udev makes none and destroys none."""
    sr = await passthrough_sr.find_sr(xenapi, host)
    for ref in records.refs(await xenapi.record("SR", sr), "VDIs") if sr else ():
        if str((await xenapi.record("VDI", ref))["location"]).rpartition("/")[2] == name:
            await xenapi.call("VDI.forget", ref)


async def _find_partition(dom0: Ssh, action: Action) -> tuple[str, int, str] | None:
    """Disk, number and device of the partition, if the disk is there and has it."""
    device = settings.text(action, "device")
    if not device:
        return None
    disk, _, table = (await dom0.run(["sh", "-c", FIND, "sh", device], timeout_s=SCRIPT_TIMEOUT_S)).stdout.partition(
        "\n"
    )
    entry = gpt.parse_table(table).named(settings.text(action, "disk")) if disk else None
    return (disk, entry.number, gpt.partition_device(disk, entry.number)) if entry else None
