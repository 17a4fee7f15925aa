"""A storage VM becomes a host of the Ceph cluster: it lets cephadm's key in, and the orchestrator knows it."""

from __future__ import annotations

from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import Ssh
from shoal.kit.errors import TemporaryError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.plan.ceph_host import DRAINED
from shoal.steps import ceph_answers, orchestrator, settings
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
    key = await ceph_answers.once(tools, ceph, ["cephadm", "get-pub-key"])
    await _authorize(await tools.storage_vm(action.target), key.reveal())
    drained: list[str] = []

    async def add() -> str:
        known = await _find(tools, ceph, name)
        drained[:] = _labels_of_drained(known)
        if known is None or known["addr"] != address:
            try:
                order = "add" if known is None else "set-addr"
                await ceph.text(["orch", "host", order, name, address], timeout_s=ADD_TIMEOUT_S)
            except CephRefused as error:
                raise NotYet(error.brief, details=error.details) from error
        return ""

    watched = orchestrator.watch(add, tools)
    await wait_until(watched, deadline_s=TRY_FOR_S, what=f"Ceph to take {name}", every_s=1)
    for label in drained:
        await ceph.text(["orch", "host", "label", "rm", name, label], timeout_s=ADD_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    known = await _find(tools, await tools.ceph(), settings.text(action, "name"))
    if known is None or known["addr"] != settings.text(action, "address"):
        return f"the cluster has it at {known['addr'] if known else 'no address'}"
    return "it is closed to daemons" if _labels_of_drained(known) else ""


async def _authorize(guest: Ssh, key: str) -> None:
    await guest.run(["sh", "-c", AUTHORIZE], timeout_s=30, input=f"{key}\n".encode())


async def _find(tools: Tools, ceph: Ceph, name: str) -> dict[str, Any] | None:
    """What the orchestrator knows of that host."""
    try:
        found = await ceph_answers.fresh(tools, ceph, ["orch", "host", "ls"])
    except CephRefused as error:
        raise NotYet(error.brief) from error
    hosts = found if isinstance(found, list) else []
    return next((host for host in hosts if host["hostname"] == name), None)


def _labels_of_drained(host: dict[str, Any] | None) -> list[str]:
    return [label for label in host.get("labels", ()) if label in DRAINED_LABELS] if host else []
