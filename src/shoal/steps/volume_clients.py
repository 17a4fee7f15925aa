"""The list of clients that each volume service takes. It is read for each request, so nothing is started anew."""

from __future__ import annotations

import asyncio
import json

from shoal.plan.action import Action
from shoal.spec.names import CLIENTS_FILE
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 180.0


async def apply(action: Action, tools: Tools) -> None:
    """A storage VM that does not answer keeps no other from its list."""
    tasks = [_write(action, tools, host) for host in settings.texts(action, "hosts")]
    for failed in await asyncio.gather(*tasks, return_exceptions=True):
        if failed is not None:
            raise failed


async def verify(action: Action, tools: Tools) -> str:
    for host in settings.texts(action, "hosts"):
        guest = await tools.storage_vm(host)
        if await guest.read_file(CLIENTS_FILE) != _compose(action):
            return f"{CLIENTS_FILE} in the storage VM of {host} is not as wanted"
    return ""


def write_clients(clients: tuple[str, ...]) -> bytes:
    return (json.dumps(clients, indent=1) + "\n").encode()


async def _write(action: Action, tools: Tools, host: str) -> None:
    await (await tools.storage_vm(host)).write_file(CLIENTS_FILE, _compose(action))


def _compose(action: Action) -> bytes:
    return write_clients(settings.texts(action, "clients"))
