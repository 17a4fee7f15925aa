"""The volume services run another image. cephadm starts a service of type container anew only when it is told to."""

from __future__ import annotations

import json

from shoal.kit.waiting import wait_until
from shoal.observe.ceph_upgrade import look_at_upgrade
from shoal.plan.action import Action
from shoal.spec.names import VOLUME_SERVICE
from shoal.steps import orchestrator, settings, volume_services
from shoal.steps.tools import Tools

timeout_s = 420.0
ANSWER_TIMEOUT_S = 330.0


async def apply(action: Action, tools: Tools) -> None:
    ceph = await tools.ceph()
    spec = volume_services.compose(settings.texts(action, "names"), settings.text(action, "image"))
    await orchestrator.order(ceph, tools, ["orch", "apply", "-i", "-"], input=json.dumps(spec).encode())
    await orchestrator.order(ceph, tools, ["orch", "redeploy", VOLUME_SERVICE])
    watched = orchestrator.watch(lambda: verify(action, tools), tools)
    await wait_until(watched, deadline_s=ANSWER_TIMEOUT_S, what="the volume services to run it", every_s=3)


async def verify(action: Action, tools: Tools) -> str:
    image, seen = settings.text(action, "image"), await look_at_upgrade(await tools.ceph())
    others = [other for other in seen.volume_service_images if other != image]
    if others or not seen.volume_service_images:
        return f"they run {', '.join(others) or 'nowhere'}"
    return await volume_services.verify(action, tools)
