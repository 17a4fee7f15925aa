"""Shoal's block in LVM's own local configuration, in a member's folder and in the master's."""

from __future__ import annotations

from shoal.clients.ssh import Ssh
from shoal.facts import LvmConf
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.plan.lvm_conf import merge, refusal
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 120.0
COMMAND_TIMEOUT_S = 60.0
# Both files of each folder, divided by the character 1. lvm.conf is a thousand lines of comments.
LOOK = """for f; do grep -v '^[[:space:]]*#' "$f/lvm.conf" 2>/dev/null; printf '\\001'
cat "$f/lvmlocal.conf" 2>/dev/null; printf '\\001'; done; true"""


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    for conf in await _look(action, dom0):
        why = refusal(conf)
        if why:
            raise ShoalError(f"on {action.target}, {why}", resolution="Delete it there, and apply again.")
        if merge(conf) != conf.local:
            await dom0.write_file(f"{conf.folder}/lvmlocal.conf", merge(conf).encode())


async def verify(action: Action, tools: Tools) -> str:
    confs = await _look(action, await tools.dom0(action.target))
    wrong = [conf.folder for conf in confs if merge(conf) != conf.local]
    return f"{wrong[0]}/lvmlocal.conf is not as wanted" if wrong else ""


async def _look(action: Action, dom0: Ssh) -> tuple[LvmConf, ...]:
    folders = settings.texts(action, "folders")
    parts = (await dom0.run(["sh", "-c", LOOK, "sh", *folders], timeout_s=COMMAND_TIMEOUT_S)).stdout.split("\x01")
    return tuple(
        LvmConf(folder, *pair) for folder, pair in zip(folders, zip(parts[::2], parts[1::2], strict=False), strict=True)
    )
