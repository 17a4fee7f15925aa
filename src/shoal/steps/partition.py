"""The OSD's partition on a disk of a host: made in free space or over a whole disk, found again by its GPT name.

A new partition first carries a name that says it is not checked yet. Only when nothing old lies in it (or `wipe` has
removed that) it gets its final name; so a run killed in between goes on, and what has the final name is never wiped.
"""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError
from shoal.kit.sizes import format_size
from shoal.plan.action import Action
from shoal.steps import gpt, settings
from shoal.steps.tools import Tools

timeout_s = 300.0
COMMAND_TIMEOUT_S = 60.0
NEW = ".new"
HEAD_MIB = 8
"""So much is zeroed on a wiped partition: BlueStore's label and LVM's metadata are in there."""


async def apply(action: Action, tools: Tools) -> None:
    dom0, name = await tools.dom0(action.host), settings.text(action, "name")
    disk = await _resolve(dom0, settings.text(action, "device"))
    async with tools.locks[f"{action.host} {disk}"]:
        table = await _read(dom0, disk)
        if table is None or table.named(name) is None:
            entry = table.named(name + NEW) if table else None
            if entry is None:
                entry = await _create(action, tools, dom0, disk)
            await _tell_kernel(dom0, disk, entry)
            await _empty(action, dom0, disk, entry)
            await dom0.run(["sgdisk", f"--change-name={entry.number}:{name}", disk], timeout_s=COMMAND_TIMEOUT_S)
        table = await _read(dom0, disk)
        final = table.named(name) if table else None
        if final is None:
            raise ShoalError(f"{dom0.name}: {disk} has no partition {name} although it was just made")
        await _tell_kernel(dom0, disk, final)


async def verify(action: Action, tools: Tools) -> str:
    dom0, name = await tools.dom0(action.host), settings.text(action, "name")
    disk = await _resolve(dom0, settings.text(action, "device"))
    table = await _read(dom0, disk)
    entry = table.named(name) if table else None
    if table is None or entry is None:
        return f"{disk} has no partition {name}"
    return await _kernel_lacks(dom0, disk, entry, table.sector_bytes)


async def _resolve(dom0: Ssh, link: str) -> str:
    """Kernel name of the disk behind a stable name."""
    found = await dom0.run(["readlink", "--canonicalize-existing", link], timeout_s=COMMAND_TIMEOUT_S, check=False)
    if found.code != 0:
        raise ShoalError(f"{dom0.name} has no disk {link}", resolution="Look at ls -l /dev/disk/by-id there.")
    return found.stdout.strip()


async def _read(dom0: Ssh, disk: str) -> gpt.Table | None:
    """The disk's GPT; None when it has none. Never anything but a sound one."""
    found = await dom0.run(
        ["blkid", "-p", "-s", "PTTYPE", "-o", "value", disk], timeout_s=COMMAND_TIMEOUT_S, check=False
    )
    if found.stdout.strip() != "gpt":
        return None
    text = (await dom0.run(gpt.print_argv(disk), timeout_s=COMMAND_TIMEOUT_S)).stdout
    return gpt.parse_table(text)


async def _create(action: Action, tools: Tools, dom0: Ssh, disk: str) -> gpt.Entry:
    if settings.text(action, "use") == "whole-disk":
        await _clear(action, dom0, disk)
    table = await _read(dom0, disk)
    if table is None:
        raise ShoalError(f"{dom0.name}: {disk} has no GPT, so it has no free space to use")
    largest = (await dom0.run(gpt.largest_argv(disk), timeout_s=COMMAND_TIMEOUT_S)).stdout
    size_bytes = settings.optional_number(action, "size_bytes")
    place = gpt.lay_out(gpt.parse_largest(largest), table.sector_bytes, size_bytes)
    number, name = gpt.next_number(table), settings.text(action, "name") + NEW
    size = format_size((place.last + 1 - place.first) * table.sector_bytes)
    tools.progress(action, f"making {gpt.partition_device(disk, number)}, {size}")
    await dom0.run(gpt.create_argv(disk, number, place, name), timeout_s=COMMAND_TIMEOUT_S)
    return gpt.Entry(number, place.first, place.last, name)


async def _clear(action: Action, dom0: Ssh, disk: str) -> None:
    """A whole disk gets a table of its own, if it is empty or may be wiped; never one that is in use."""
    table = await _read(dom0, disk)
    if table is not None and not table.entries:
        return
    held = await _signatures(dom0, disk)
    if held:
        if not settings.flag(action, "wipe"):
            raise _not_empty(dom0, disk, held)
        mounted = await dom0.run(["lsblk", "-rno", "MOUNTPOINT,TYPE", disk], timeout_s=COMMAND_TIMEOUT_S)
        uses = [line for line in mounted.stdout.splitlines() if line.strip() not in ("disk", "part")]
        if uses:
            raise ShoalError(f"{dom0.name}: {disk} is in use and is not wiped", details="\n".join(uses))
        await dom0.run(["wipefs", "--all", "--force", disk], timeout_s=COMMAND_TIMEOUT_S)
        await dom0.run(["sgdisk", "--zap-all", disk], timeout_s=COMMAND_TIMEOUT_S, check=False)
    await dom0.run(["sgdisk", "--clear", disk], timeout_s=COMMAND_TIMEOUT_S)
    await dom0.run(["blockdev", "--rereadpt", disk], timeout_s=COMMAND_TIMEOUT_S)


async def _empty(action: Action, dom0: Ssh, disk: str, entry: gpt.Entry) -> None:
    """What lies where the new partition is: an old file system, an old OSD."""
    device = gpt.partition_device(disk, entry.number)
    held = await _signatures(dom0, device)
    if not held:
        return
    if not settings.flag(action, "wipe"):
        await dom0.run(["sgdisk", f"--delete={entry.number}", disk], timeout_s=COMMAND_TIMEOUT_S)
        await dom0.run(["partx", "--delete", "--nr", str(entry.number), disk], timeout_s=COMMAND_TIMEOUT_S, check=False)
        raise _not_empty(dom0, f"the free space of {disk}", held)
    await dom0.run(["wipefs", "--all", "--force", device], timeout_s=COMMAND_TIMEOUT_S)
    zero = ["dd", "if=/dev/zero", f"of={device}", "bs=1M", f"count={HEAD_MIB}", "conv=fsync"]
    await dom0.run(zero, timeout_s=COMMAND_TIMEOUT_S)


async def _signatures(dom0: Ssh, device: str) -> str:
    """What signatures stand on a device, in words; "" for none. BlueStore's is not known to old tools."""
    rows = (await dom0.run(["wipefs", "--parsable", device], timeout_s=COMMAND_TIMEOUT_S)).stdout.splitlines()
    found = [row.split(",")[-1] for row in rows if row and not row.startswith("#")]
    head = await dom0.run(["head", "-c", "22", device], timeout_s=COMMAND_TIMEOUT_S)
    if head.stdout == "bluestore block device":
        found.append("a Ceph OSD (bluestore)")
    return ", ".join(dict.fromkeys(found))


def _not_empty(dom0: Ssh, device: str, held: str) -> ShoalError:
    return ShoalError(
        f"{dom0.name}: {device} is not empty: {held}",
        resolution="If nothing of it is needed, write `wipe: true` for this disk.",
    )


async def _tell_kernel(dom0: Ssh, disk: str, entry: gpt.Entry) -> None:
    """Make the kernel and udev know the partition; no reboot, also while others of the disk are in use."""
    number = str(entry.number)
    # sgdisk has asked the kernel to read the whole table, which it refuses for a disk in use: then add just this one.
    await dom0.run(["partx", "--update", "--nr", number, disk], timeout_s=COMMAND_TIMEOUT_S, check=False)
    name = gpt.partition_device(disk, entry.number).rpartition("/")[2]
    await dom0.run(
        ["udevadm", "trigger", "--action=change", f"--sysname-match={name}", "--subsystem-match=block"],
        timeout_s=COMMAND_TIMEOUT_S,
    )
    await dom0.run(["udevadm", "settle", "--timeout=30"], timeout_s=COMMAND_TIMEOUT_S, check=False)


async def _kernel_lacks(dom0: Ssh, disk: str, entry: gpt.Entry, sector_bytes: int) -> str:
    """Whether the kernel has the partition as the table says."""
    device = gpt.partition_device(disk, entry.number)
    found = await dom0.run(["blockdev", "--getsize64", device], timeout_s=COMMAND_TIMEOUT_S, check=False)
    wanted = (entry.last_sector + 1 - entry.first_sector) * sector_bytes
    if found.code != 0:
        return f"the kernel does not know {device} yet; reboot the host"
    if int(found.stdout) != wanted:
        return f"the kernel sees {device} with {found.stdout.strip()} bytes instead of {wanted}; reboot the host"
    return ""
