"""Stops what would bring back what is taken down: the keeper, and the units that map images and plug SRs."""

from __future__ import annotations

from shoal.kit.shipped import DOM0_SERVICES, DOM0_WANTS
from shoal.plan.action import Action
from shoal.steps.tools import Tools

timeout_s = 180.0
COMMAND_TIMEOUT_S = 120.0
# $1… units. One without a file has no links; one that runs without a file is stopped all the same.
STOP = """set -e; for u; do [ ! -e "/etc/systemd/system/$u" ] || systemctl disable --quiet "$u"
! systemctl is-active --quiet "$u" || systemctl stop "$u"; done"""
LOOK = """for u; do ! systemctl is-active --quiet "$u" || echo "$u runs"
[ ! -L "/etc/systemd/system/multi-user.target.wants/$u" ] || echo "$u is enabled"; done"""


async def apply(action: Action, tools: Tools) -> None:
    dom0 = await tools.dom0(action.target)
    await dom0.run(["sh", "-c", STOP, "sh", *DOM0_SERVICES], timeout_s=COMMAND_TIMEOUT_S)
    await dom0.run(["rm", "-f", *DOM0_WANTS], timeout_s=COMMAND_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    dom0 = await tools.dom0(action.target)
    done = await dom0.run(["sh", "-c", LOOK, "sh", *DOM0_SERVICES], timeout_s=COMMAND_TIMEOUT_S)
    return ", ".join(done.stdout.splitlines())
