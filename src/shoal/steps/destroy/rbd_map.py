"""A dom0 has none of the images mapped that SRs of type lvm lay on, and no link to one."""

from __future__ import annotations

from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import image_device
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 240.0
COMMAND_TIMEOUT_S = 60.0
# $1… images, as "pool/name". Prints those that are mapped, with their number.
LOOK = """for image; do for d in /sys/bus/rbd/devices/*; do
[ -e "$d/name" ] && [ "$(cat "$d/pool")/$(cat "$d/name")" = "$image" ] && echo "${d##*/} $image"; done; done; true"""
# $1 number, $2 link. The kernel refuses while the device is open.
UNMAP = """set -e; f=/sys/bus/rbd/remove_single_major; [ -e $f ] || f=/sys/bus/rbd/remove; echo "$1" >$f; rm -f "$2"
rmdir "${2%/*}" /dev/rbd 2>/dev/null || true"""


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    for number, image in await _look(action, tools):
        argv = ["sh", "-c", UNMAP, "sh", number, image_device(image)]
        done = await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S, check=False)
        if done.code:
            raise ShoalError(
                f"on {action.target}, {image} could not be unmapped",
                details=done.stderr[-500:],
                resolution=f"See what uses it there: dmsetup ls --tree; then run the command again. It is rbd{number}.",
            )


async def verify(action: Action, tools: Tools) -> str:
    left = await _look(action, tools)
    return f"{', '.join(image for _, image in left)} is still mapped" if left else ""


async def _look(action: Action, tools: Tools) -> list[tuple[str, str]]:
    dom0 = await tools.dom0(action.target)
    argv = ["sh", "-c", LOOK, "sh", *settings.texts(action, "images")]
    lines = (await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.splitlines()
    return [(number, image) for number, _, image in (line.partition(" ") for line in lines)]
