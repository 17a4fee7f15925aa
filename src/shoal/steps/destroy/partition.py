"""An OSD's partition goes, and the signatures of what was on it: only with --wipe, and never one that is in use.

It keeps its name until the last moment: so a run killed in between finds it again. This is no secure erasure.
"""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import gpt, settings
from shoal.steps.tools import Tools

timeout_s = 300.0
SCRIPT_TIMEOUT_S = 240.0
IN_USE = 45
OTHER = 46

# $1 disk, $2 number, $3 name, $4 partition's device. bluestore keeps copies of its label at these places (GiB).
WIPE = """set -e; d=$1 n=$2 name=$3 p=$4
sgdisk --info="$n" "$d" | grep -qxF "Partition name: '$name'" || exit 46
if [ -b "$p" ]; then
! grep -q "^$p " /proc/mounts || { echo "it is mounted"; exit 45; }
h=$(ls "/sys/class/block/${p##*/}/holders"); [ -z "$h" ] || { echo "$h lies on it"; exit 45; }
wipefs --all "$p" >&2 || { echo "it is open"; exit 45; }
dd if=/dev/zero of="$p" bs=1M count=8 conv=fsync,notrunc 2>/dev/null
s=$(blockdev --getsize64 "$p"); for g in 1 10 100 1000; do [ "$s" -lt $((g * 1073741824 + 1048576)) ] ||
dd if=/dev/zero of="$p" bs=1M seek=$((g * 1024)) count=1 conv=fsync,notrunc 2>/dev/null; done; fi
sgdisk --delete="$n" "$d" >&2; partx --delete --nr "$n" "$d" 2>/dev/null || true; udevadm settle --timeout=30 || true"""


async def apply(action: Action, tools: Tools) -> None:
    dom0, disk = await tools.dom0(action.host), settings.text(action, "disk")
    async with tools.locks[f"{action.host} {disk}"]:
        await erase(dom0, disk, settings.number(action, "number"), settings.text(action, "name"))


async def erase(dom0: Ssh, disk: str, number: int, name: str) -> None:
    """Nothing, where the partition has not this name: it is gone, or moved to another disk's name by a reboot."""
    device = gpt.partition_device(disk, number)
    argv = ["sh", "-c", WIPE, "sh", disk, str(number), name, device]
    done = await dom0.run(argv, timeout_s=SCRIPT_TIMEOUT_S, check=False)
    if done.code == IN_USE:
        raise ShoalError(
            f"{device} of {dom0.name} is in use and was not wiped: {done.stdout.strip()}",
            resolution="See what uses it there, with lsblk; then run the command again.",
        )
    if done.code not in (0, OTHER):
        raise ShoalError(f"{device} of {dom0.name} could not be removed", details=done.stderr[-1000:])


async def verify(action: Action, tools: Tools) -> str:
    dom0, disk = await tools.dom0(action.host), settings.text(action, "disk")
    text = (await dom0.run(gpt.print_argv(disk), timeout_s=SCRIPT_TIMEOUT_S)).stdout
    return f"{disk} still has it" if gpt.parse_table(text).named(settings.text(action, "name")) else ""
