"""Whether a host's OSDs stay in the cluster however long they are down: `noout`, for this host and no other."""

from __future__ import annotations

from shoal.plan.action import Action
from shoal.spec.names import storage_vm_name
from shoal.steps import settings
from shoal.steps.ceph_leave import ceph_beside, look
from shoal.steps.tools import Tools

timeout_s = 180.0


async def apply(action: Action, tools: Tools) -> None:
    ceph = await ceph_beside(tools, action.target)
    verb = "set-group" if settings.flag(action, "noout") else "unset-group"
    await ceph.text(["osd", verb, "noout", storage_vm_name(action.target)])


async def verify(action: Action, tools: Tools) -> str:
    seen = await look(await ceph_beside(tools, action.target))
    is_set = storage_vm_name(action.target) in seen.noout_hosts
    return "" if is_set == settings.flag(action, "noout") else f"noout is {'set' if is_set else 'not set'} for it"
