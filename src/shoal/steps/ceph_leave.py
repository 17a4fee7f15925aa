"""Asks Ceph whether it can spare the daemons of one host, and looks at it from the other hosts. Changes nothing."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

from shoal import facts
from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.waiting import wait_until
from shoal.observe.ceph import look_at_ceph, unreachable
from shoal.plan.action import Action
from shoal.plan.host_ceph import not_clean
from shoal.spec.names import storage_vm_name
from shoal.steps import records, settings
from shoal.steps.tools import Tools

EVERY_S = 3.0


async def ceph_beside(tools: Tools, host: str) -> Ceph:
    """Ceph, through any other host: this one's storage VM is off, or about to be."""
    return await tools.connections.ceph(among=[one.name for one in tools.connections.spec.hosts if one.name != host])


async def look(ceph: Ceph) -> facts.Ceph:
    return await look_at_ceph(ceph, "", {}) or unreachable("", "it is not set up yet")


async def wait_for_leave(action: Action, tools: Tools) -> None:
    """Until Ceph can spare the action's host, at most for as long as its settings say."""

    what = f"Ceph to be able to spare {action.target}"
    await wait_for(action, tools, lambda action, tools: lacks_leave(tools, action.target), what)


async def wait_for(action: Action, tools: Tools, look: Callable[[Action, Tools], Awaitable[str]], what: str) -> None:
    """As long as the action's settings allow. `look` says what is lacking, "" for nothing."""

    async def say() -> str:
        lack = await look(action, tools)
        tools.progress(action, lack or "nothing is lacking any more")
        return lack

    await wait_until(say, deadline_s=settings.number(action, "wait_s"), what=what, every_s=EVERY_S)


async def lacks_leave(tools: Tools, host: str) -> str:
    """A storage VM that is off, or has gone off by the doing of a run that was killed, needs no leave any more."""
    found = await records.storage_vm(tools.xenapi, host, storage_vm_name(host))
    is_off = found is None or found[1]["power_state"] == "Halted"
    return "" if is_off else await what_keeps_it(tools, host)


async def what_keeps_it(tools: Tools, host: str) -> str:
    """Why Ceph cannot spare it now; "" when it can."""
    ceph = await ceph_beside(tools, host)
    return not_clean(await look(ceph)) or await _of_osds(ceph, host) or await _of_mon(ceph, host)


async def _of_osds(ceph: Ceph, host: str) -> str:
    """Also whether each placement group would keep as many copies as it needs to be written (min_size)."""
    try:
        found = await ceph.command(["osd", "ls-tree", storage_vm_name(host)])
    except CephRefused as error:
        if error.code != errno.ENOENT:
            raise
        return ""  # it has no OSDs
    ids = [str(one) for one in found] if isinstance(found, list) else []
    return await _ask(ceph, ["osd", "ok-to-stop", *ids]) if ids else ""


async def _of_mon(ceph: Ceph, host: str) -> str:
    dump = await ceph.command(["mon", "dump"])
    mons = dump.get("mons", []) if isinstance(dump, dict) else []
    name = storage_vm_name(host)
    return await _ask(ceph, ["mon", "ok-to-stop", name]) if any(mon.get("name") == name for mon in mons) else ""


async def _ask(ceph: Ceph, argv: list[str]) -> str:
    try:
        await ceph.text(argv)
    except CephRefused as error:
        if error.code not in (errno.EBUSY, errno.EAGAIN):
            raise
        return f"{argv[0]} ok-to-stop: {' '.join(error.details.split())[:300]}"
    return ""
