"""A storage VM becomes a host of the Ceph cluster: it lets cephadm's key in, and the orchestrator knows it."""

from __future__ import annotations

from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import Ssh
from shoal.kit.errors import TemporaryError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.plan.ceph_host import DRAINED
from shoal.steps import orchestrator, settings
from shoal.steps.tools import Tools

timeout_s = 300.0
DRAINED_LABELS = (DRAINED, "_no_conf_keyring")
ADD_TIMEOUT_S = 90.0
TRY_FOR_S = 150.0
# Appends the line of standard input unless it is there.
AUTHORIZE = """umask 077; mkdir -p /root/.ssh; read -r line; f=/root/.ssh/authorized_keys
grep -qxF -- "$line" "$f" 2>/dev/null || printf '%s\\n' "$line" >>"$f" """


class NotYet(TemporaryError):
    """The orchestrator refused for now: its module is still loading, or the host was busy."""


async def apply(action: Action, tools: Tools) -> None:
    ceph = await tools.ceph()
    name, address = settings.text(action, "name"), settings.text(action, "address")
    key = (await ceph.text(["cephadm", "get-pub-key"])).strip()
    await _authorize(await tools.storage_vm(action.target), key)

    async def add() -> str:
        known = await _addresses(ceph)
        if known.get(name) == address:
            return ""
        order = ["set-addr"] if name in known else ["add"]
        try:
            await ceph.text(["orch", "host", *order, name, address], timeout_s=ADD_TIMEOUT_S)
        except CephRefused as error:
            raise NotYet(error.brief, details=error.details) from error
        return "it was asked for"

    watched = orchestrator.watch(add, tools)
    await wait_until(watched, deadline_s=TRY_FOR_S, what=f"Ceph to take {name}", every_s=1)
    for label in await _labels_of_drained(ceph, name):
        await ceph.text(["orch", "host", "label", "rm", name, label], timeout_s=ADD_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    ceph, name = await tools.ceph(), settings.text(action, "name")
    address = (await _addresses(ceph)).get(name)
    if address != settings.text(action, "address"):
        return f"the cluster has it at {address or 'no address'}"
    return "it is closed to daemons" if await _labels_of_drained(ceph, name) else ""


async def _authorize(guest: Ssh, key: str) -> None:
    await guest.run(["sh", "-c", AUTHORIZE], timeout_s=30, input=f"{key}\n".encode())


async def _addresses(ceph: Ceph) -> dict[str, str]:
    return {str(host["hostname"]): str(host["addr"]) for host in await _hosts(ceph)}


async def _labels_of_drained(ceph: Ceph, name: str) -> list[str]:
    own = [host for host in await _hosts(ceph) if host["hostname"] == name]
    return [label for host in own for label in host.get("labels", ()) if label in DRAINED_LABELS]


async def _hosts(ceph: Ceph) -> list[dict[str, Any]]:
    try:
        found = await ceph.command(["orch", "host", "ls"])
    except CephRefused as error:
        raise NotYet(error.brief) from error
    return found if isinstance(found, list) else []
