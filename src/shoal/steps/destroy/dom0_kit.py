"""Shoal's files leave a dom0: driver, keeper, certificates, keys, units, and its block in LVM's local configuration.

The toolstack's whitelist is again what the other files say, since Shoal had its own.
"""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError
from shoal.kit.shipped import DOM0_DRIVER, DOM0_OWN, DOM0_PLUGIN, DOM0_PLUGIN_LINK
from shoal.plan.action import Action
from shoal.plan.lvm_conf import without_block
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 300.0
COMMAND_TIMEOUT_S = 90.0
# $1 the container plugin and $2 the toolstack's link to it, if it is one; then paths. The driver's executable goes
# first: who calls it meanwhile gets no half of it.
REMOVE = """set -e; [ "$(readlink -- "$2")" != "$1" ] || rm -f -- "$2"; shift 2; rm -rf -- "$@"
rm -f /run/lock/shoal-sr-*; systemctl daemon-reload; udevadm control --reload"""
LOOK = """for f; do [ ! -e "$f" ] && [ ! -L "$f" ] || echo "$f"; done"""


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    for folder in settings.texts(action, "folders"):
        await _restore_lvm(dom0, f"{folder}/lvmlocal.conf")
    argv = ["sh", "-c", REMOVE, "sh", DOM0_PLUGIN, DOM0_PLUGIN_LINK, DOM0_DRIVER, *DOM0_OWN]
    await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    dom0 = await tools.dom0(action.target)
    left = (await dom0.run(["sh", "-c", LOOK, "sh", *DOM0_OWN], timeout_s=COMMAND_TIMEOUT_S)).stdout.split()
    return f"{', '.join(left)} is still there" if left else ""


async def _restore_lvm(dom0: Ssh, path: str) -> None:
    """Without Shoal's block. A file that held nothing else was Shoal's."""
    found = await dom0.read_file(path)
    if found is None:
        return
    local = found.decode(errors="surrogateescape")
    rest = without_block(local)
    if "\n# BEGIN Shoal" in f"\n{rest}":
        raise ShoalError(
            f"Shoal's block in {path} of {dom0.name} is cut: its last line is missing",
            resolution="Delete it there, and run the command again.",
        )
    if rest == local:
        return
    if rest.strip():
        await dom0.write_file(path, rest.encode(errors="surrogateescape"))
    else:
        await dom0.run(["rm", "-f", path], timeout_s=COMMAND_TIMEOUT_S)
