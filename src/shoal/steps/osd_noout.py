"""Whether a host's OSDs stay in the cluster however long they are down: `noout`, for this host and no other."""

from __future__ import annotations

from pathlib import Path

from shoal.plan.action import Action
from shoal.spec.names import storage_vm_name
from shoal.steps import settings
from shoal.steps.ceph_leave import ceph_beside, look
from shoal.steps.tools import Tools

timeout_s = 180.0
FORGET_TIMEOUT_S = 45.0


async def apply(action: Action, tools: Tools) -> None:
    ceph = await ceph_beside(tools, action.target)
    machine = storage_vm_name(action.target)
    if not settings.flag(action, "noout"):
        await ceph.text(["osd", "unset-group", "noout", machine])
        return
    # Its keeper may have set it for a reboot. Then whoever finds its record takes the flag back, so that goes first.
    program = Path(__file__).with_name("noout_record.py").read_bytes()
    await ceph.python(program, [machine, *settings.texts(action, "records")], timeout_s=FORGET_TIMEOUT_S)
    await ceph.text(["osd", "set-group", "noout", machine])


async def verify(action: Action, tools: Tools) -> str:
    seen = await look(await ceph_beside(tools, action.target))
    is_set = storage_vm_name(action.target) in seen.noout_hosts
    return "" if is_set == settings.flag(action, "noout") else f"noout is {'set' if is_set else 'not set'} for it"
