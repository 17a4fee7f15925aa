"""The OSD's partition on a disk of a host: made in free space or over a whole disk, found again by its GPT name.

Nothing old may lie where it will be. Where `wipe` allows to remove it, the partition first carries a name that says it
is not clean yet: so a run killed in between goes on, and what has the final name is never wiped.
"""

from __future__ import annotations

from dataclasses import dataclass

from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError
from shoal.kit.sizes import format_size
from shoal.plan.action import Action
from shoal.steps import gpt, settings
from shoal.steps.tools import Tools

timeout_s = 300.0
SCRIPT_TIMEOUT_S = 120.0
NEW = ".new"
NO_DISK = 44
NOT_EMPTY = 45

# Few round trips, and few processes: a dom0 may be slow, and is busy meanwhile. Parts of an answer are divided by the
# character 1. A size is read where the kernel shows it, but for the rare device that has another name there.
# $1 stable name of the disk
LOOK = """set -e; d=$(readlink -e "$1") || exit 44
printf '%s\\001%s\\001' "$d" "$(blkid -p -s PTTYPE -o value "$d" || true)"
sgdisk --print --first-in-largest --end-of-largest "$d" 2>&1 || true
printf '\\001'; for p in "$d"*[0-9]; do [ -b "$p" ] || continue
{ read -r s <"/sys/class/block/${p##*/}/size" && s=$((s * 512)); } 2>/dev/null || s=$(blockdev --getsize64 "$p")
echo "$p $s"; done"""
# $1 disk, $2 offset and $3 size in bytes of the place, $4 its number, $5 stable name of the disk, then sgdisk's words.
# Exit 45 and no change if the place is not empty. Ends with a look.
CREATE = f"""set -e; d=$1; s=$(blkid -p -O "$2" -S "$3" -s TYPE -o value "$d") || [ $? -eq 2 ] || s="several signatures"
l=$(dd if="$d" bs=1M skip="$(($2 / 1048576))" count=1 2>/dev/null | head -c 22 | tr -d '\\000')
[ "$l" != "bluestore block device" ] || s="a Ceph OSD (bluestore)"
[ -z "$s" ] || {{ echo "$s"; exit 45; }}
n=$4 name=$5; shift 5; "$@" >&2; partx --add --nr "$n" "$d" 2>/dev/null || true; udevadm settle --timeout=30 || true
set -- "$name"
{LOOK}"""
# $1 disk, $2 number, $3 partition's device, $4 final name, then sgdisk's words to make it, if it is not there yet
WIPE = """set -e; d=$1 n=$2 p=$3 name=$4; shift 4; [ $# -eq 0 ] || "$@" >&2
partx --update --nr "$n" "$d" || true; udevadm settle --timeout=30 || true
wipefs --all --force "$p" >&2; dd if=/dev/zero of="$p" bs=1M count=8 conv=fsync 2>/dev/null
sgdisk --change-name="$n:$name" "$d" >&2"""
# $1 disk, $2 number, $3 kernel name. sgdisk has asked the kernel to read the whole table, which it refuses for a disk
# in use: then this one partition is added.
TELL = """partx --update --nr "$2" "$1" || true
udevadm trigger --action=change --sysname-match="$3" --subsystem-match=block; udevadm settle --timeout=30 || true"""
# $1 disk. Prints what stands on it and what uses it.
CONTENTS = """wipefs --parsable "$1" | grep -v '^#' | cut -d, -f4 || true; printf '\\001'
lsblk -rno MOUNTPOINT,TYPE "$1" | grep -vE '^ ?(disk|part)$' || true"""
# The kernel refuses to read the table anew while anybody has a partition open, a storage VM's backend, too.
CLEAR = """set -e; udevadm settle --timeout=30 || true
blockdev --rereadpt "$1" || { echo "$1 or a partition of it is open, and it was not wiped" >&2; exit 1; }
udevadm settle --timeout=30 || true; wipefs --all --force "$1" >&2; sgdisk --zap-all "$1" >&2 || true
sgdisk --clear "$1" >&2; blockdev --rereadpt "$1" """


@dataclass(frozen=True, slots=True)
class Look:
    disk: str  # kernel name
    table: gpt.Table | None  # None: the disk has no GPT
    largest: gpt.Stretch | None
    kernel_sizes: dict[str, int]  # partition's device → bytes, as the kernel sees it


async def apply(action: Action, tools: Tools) -> None:
    dom0, name = await tools.dom0(action.host), settings.text(action, "name")
    async with tools.locks[f"{action.host} {settings.text(action, 'device')}"]:
        seen = await _look(dom0, action)
        if not _has(seen, name):
            if settings.text(action, "use") == "whole-disk" and not _has(seen, name + NEW):
                await _clear(action, dom0, seen)
                seen = await _look(dom0, action)
            seen = await _make(action, tools, dom0, seen)
        entry = seen.table.named(name) if seen.table else None
        if entry is not None and _kernel_lacks(seen, name):
            device = gpt.partition_device(seen.disk, entry.number)
            await _script(dom0, TELL, seen.disk, str(entry.number), device.rpartition("/")[2])


async def verify(action: Action, tools: Tools) -> str:
    seen, name = await _look(await tools.dom0(action.host), action), settings.text(action, "name")
    return _kernel_lacks(seen, name) if _has(seen, name) else f"{seen.disk} has no partition {name}"


async def _look(dom0: Ssh, action: Action) -> Look:
    device = settings.text(action, "device")
    done = await dom0.run(["sh", "-c", LOOK, "sh", device], timeout_s=SCRIPT_TIMEOUT_S, check=False)
    if done.code == NO_DISK:
        raise ShoalError(f"{dom0.name} has no disk {device}", resolution="Look at ls -l /dev/disk/by-id there.")
    if done.code != 0:
        raise ShoalError(f"{dom0.name}: {device} cannot be read", details=done.stderr[-1000:])
    return _read(done.stdout)


def _read(said: str) -> Look:
    disk, kind, table, sizes = said.split("\x01")
    return Look(
        disk,
        gpt.parse_table(table) if kind == "gpt" else None,
        gpt.parse_largest(table) if kind == "gpt" else None,
        {line.split()[0]: int(line.split()[1]) for line in sizes.splitlines()},
    )


def _has(seen: Look, name: str) -> bool:
    return seen.table is not None and seen.table.named(name) is not None


def _kernel_lacks(seen: Look, name: str) -> str:
    """Whether the kernel has the partition as the table says."""
    entry = seen.table.named(name) if seen.table else None
    if seen.table is None or entry is None:
        return "there is no such partition"
    device = gpt.partition_device(seen.disk, entry.number)
    wanted, found = (
        (entry.last_sector + 1 - entry.first_sector) * seen.table.sector_bytes,
        seen.kernel_sizes.get(device),
    )
    if found == wanted:
        return ""
    sees = f"sees {found} bytes instead of {wanted} of" if found else "does not know"
    return f"the kernel {sees} {device}; reboot the host"


async def _make(action: Action, tools: Tools, dom0: Ssh, seen: Look) -> Look:
    """Make the partition; what is seen then."""
    name, wipe = settings.text(action, "name"), settings.flag(action, "wipe")
    if seen.table is None:
        raise ShoalError(f"{dom0.name}: {seen.disk} has no GPT, so it has no free space to use")
    half = seen.table.named(name + NEW)
    if half is not None:
        await _wipe(dom0, seen, half.number, name)
        return await _look(dom0, action)
    sector = seen.table.sector_bytes
    place = gpt.lay_out(seen.largest, sector, settings.optional_number(action, "size_bytes"))
    number, size_bytes = gpt.next_number(seen.table), (place.last + 1 - place.first) * sector
    tools.progress(action, f"making {gpt.partition_device(seen.disk, number)}, {format_size(size_bytes)}")
    words = [seen.disk, str(place.first * sector), str(size_bytes), str(number), settings.text(action, "device")]
    argv = ["sh", "-c", CREATE, "sh", *words, *gpt.create_argv(seen.disk, number, place, name)]
    done = await dom0.run(argv, timeout_s=SCRIPT_TIMEOUT_S, check=False)
    if done.code == NOT_EMPTY and wipe:
        await _wipe(dom0, seen, number, name, *gpt.create_argv(seen.disk, number, place, name + NEW))
        return await _look(dom0, action)
    if done.code == NOT_EMPTY:
        raise _not_empty(dom0, f"the free space of {seen.disk}", done.stdout.strip())
    if done.code != 0:
        raise ShoalError(f"{dom0.name}: no partition could be made on {seen.disk}", details=done.stderr[-1000:])
    return _read(done.stdout)


async def _wipe(dom0: Ssh, seen: Look, number: int, name: str, *create: str) -> None:
    await _script(dom0, WIPE, seen.disk, str(number), gpt.partition_device(seen.disk, number), name, *create)


async def _clear(action: Action, dom0: Ssh, seen: Look) -> None:
    """A whole disk gets a table of its own, if it is empty or may be wiped; never one that is in use."""
    if seen.table is not None and not seen.table.entries:
        return
    held, uses = (await _script(dom0, CONTENTS, seen.disk)).split("\x01")
    if held.strip() and not settings.flag(action, "wipe"):
        raise _not_empty(dom0, seen.disk, ", ".join(dict.fromkeys(held.split())))
    if uses.strip():
        raise ShoalError(f"{dom0.name}: {seen.disk} is in use and is not wiped", details=uses.strip())
    await _script(dom0, CLEAR, seen.disk)


async def _script(dom0: Ssh, script: str, *words: str) -> str:
    return (await dom0.run(["sh", "-c", script, "sh", *words], timeout_s=SCRIPT_TIMEOUT_S)).stdout


def _not_empty(dom0: Ssh, device: str, held: str) -> ShoalError:
    return ShoalError(
        f"{dom0.name}: {device} is not empty: {held}",
        resolution="If nothing of it is needed, write `wipe: true` for this disk.",
    )
