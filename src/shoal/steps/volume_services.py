"""The volume service on every storage VM, as one cephadm service of type container."""

from __future__ import annotations

import asyncio
import json

from shoal.clients.ssh import Ssh
from shoal.kit.shipped import VOLUMES_CODE
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.spec.names import VOLUME_SERVICE, VOLUME_SERVICE_PORT
from shoal.steps import orchestrator, settings
from shoal.steps.tools import Tools
from shoal.steps.volume_service import DIGEST_FILE, FOLDER, RUNNING_FILE, START

timeout_s = 420.0
ANSWER_TIMEOUT_S = 300.0
COMMAND_TIMEOUT_S = 30.0


async def apply(action: Action, tools: Tools) -> None:
    ceph, hosts = await tools.ceph(), settings.texts(action, "hosts")
    guests = [await tools.storage_vm(host) for host in hosts]
    running = [(host, guest) for host, guest in zip(hosts, guests, strict=True) if await _units(guest)]
    spec = json.dumps(compose(settings.texts(action, "names"), settings.text(action, "image"))).encode()
    await orchestrator.order(ceph, tools, ["orch", "apply", "-i", "-"], input=spec)
    # Those that ran before have old files loaded. One at a time: the driver's calls fail where none of them answers.
    for host, guest in running:
        await _restart(guest)
        await _wait(action, tools, (host,), f"the volume service to answer on {host}")
    await _wait(action, tools, hosts, "the volume service to answer everywhere")
    written = ["cp", DIGEST_FILE, RUNNING_FILE]
    await asyncio.gather(*(guest.run(written, timeout_s=COMMAND_TIMEOUT_S) for guest in guests))
    # cephadm looks every ten minutes: a daemon that was still starting when it looked last would be called failed.
    await ceph.text(["orch", "ps", "--refresh"], timeout_s=60)


async def verify(action: Action, tools: Tools) -> str:
    return await _look(tools, settings.texts(action, "hosts"))


def compose(names: tuple[str, ...], image: str) -> dict[str, object]:
    """The service's specification, as the orchestrator takes it (JSON is YAML)."""
    return compose_for({"hosts": list(names)}, image)


def compose_for(placement: dict[str, object], image: str) -> dict[str, object]:
    kind, _, name = VOLUME_SERVICE.partition(".")
    mounts = [["type=bind", f"source={path}", f"destination={path}", "ro=true"] for path in (VOLUMES_CODE, FOLDER)]
    container = {"image": image, "entrypoint": START, "args": ["--net=host"], "bind_mounts": mounts}
    return {"service_type": kind, "service_id": name, "placement": placement, "spec": container}


async def _wait(action: Action, tools: Tools, hosts: tuple[str, ...], what: str) -> None:
    async def look() -> str:
        seen = await _look(tools, hosts)
        if seen:
            tools.progress(action, seen)
        return seen

    watched = orchestrator.watch(look, tools)
    await wait_until(watched, deadline_s=ANSWER_TIMEOUT_S, what=what, every_s=min(len(hosts), 3))


async def _look(tools: Tools, hosts: tuple[str, ...]) -> str:
    listening = await asyncio.gather(*(_listens(tools, host) for host in hosts))
    silent = [host for host, does in zip(hosts, listening, strict=True) if not does]
    return f"it does not listen yet on {', '.join(silent)}" if silent else ""


async def _listens(tools: Tools, host: str) -> bool:
    guest = await tools.storage_vm(host)
    argv = ["ss", "--no-header", "--listening", "--tcp", "--numeric", "sport", "=", f":{VOLUME_SERVICE_PORT}"]
    return bool((await guest.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.strip())


async def _units(guest: Ssh) -> list[str]:
    pattern = f"ceph-*@{VOLUME_SERVICE}.*"
    argv = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,failed,activating", pattern]
    lines = (await guest.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.splitlines()
    return [line.split()[0] for line in lines if line.strip()]


async def _restart(guest: Ssh) -> None:
    for unit in await _units(guest):
        await guest.run(["systemctl", "reset-failed", unit], timeout_s=COMMAND_TIMEOUT_S, check=False)
        await guest.run(["systemctl", "restart", unit], timeout_s=90)
