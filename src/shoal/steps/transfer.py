"""What moving whole disks has in common: finding records by uuid, a host to talk to, and telling how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.kit.sizes import format_size
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.tools import Tools

TIMEOUT_S = 7 * 86400.0
"""Disks are large and networks slow. What stands still is noticed within two minutes, by the connection itself."""
REPORT_EVERY_S = 0.5
GONE = ("UUID_INVALID", "HANDLE_INVALID")


class Meter:
    """Turns bytes into words for a person. Called from the thread that does the work."""

    def __init__(self, action: Action, tools: Tools, total_bytes: int) -> None:
        self._say: Callable[[str], None] = lambda text: tools.progress(action, text)
        self._total_bytes, self._begun, self._last, self._first_bytes = total_bytes, time.monotonic(), 0.0, -1

    def show(self, done_bytes: int) -> None:
        now = time.monotonic()
        self._first_bytes = done_bytes if self._first_bytes < 0 else self._first_bytes
        if now - self._last < REPORT_EVERY_S and done_bytes < self._total_bytes:
            return
        self._last = now
        speed = int((done_bytes - self._first_bytes) / max(now - self._begun, 0.001))
        pace = f", {format_size(speed)}/s" if speed > 0 else ""
        self._say(f"{format_size(done_bytes)} of {format_size(self._total_bytes)}{pace}")


async def by_uuid(xenapi: XenApi, kind: str, uuid: str) -> tuple[str, Record] | None:
    """Ref and record, or None when there is no such thing any more."""
    try:
        ref = await xenapi.text(f"{kind}.get_by_uuid", uuid)
        return ref, await xenapi.record(kind, ref)
    except XenApiError as error:
        if error.code in GONE:
            return None
        raise


async def need(xenapi: XenApi, kind: str, uuid: str) -> tuple[str, Record]:
    found = await by_uuid(xenapi, kind, uuid)
    if found is None:
        raise ShoalError(f"the {kind} {uuid} is gone", resolution="Run the same command again to see what is left.")
    return found


async def host_address(xenapi: XenApi, sr: str) -> str:
    """Address of a host that has the SR plugged: the master if it has, since that one answers already."""
    master = (await xenapi.record("pool", await records.pool_ref(xenapi)))["master"]
    hosts = [str(pbd["host"]) for pbd in await records.pbds(xenapi, sr) if pbd["currently_attached"]]
    if not hosts:
        raise ShoalError("the SR is not plugged on any host", resolution="shoal apply, or xe pbd-plug")
    host = str(master) if master in hosts else hosts[0]
    return str((await xenapi.record("host", host))["address"])


async def users(xenapi: XenApi, vdi: str) -> tuple[str, ...]:
    """The VBDs by which VMs have a disk. A dom0 has it only while the toolstack reads or writes it."""
    found, _ = await _vbds(xenapi, vdi)
    return found


async def wait_until_released(xenapi: XenApi, vdi: str, *, deadline_s: float, say: Callable[[str], None]) -> None:
    """What a killed run has begun, the toolstack carries to its end."""

    async def look() -> str:
        _, busy = await _vbds(xenapi, vdi)
        if busy:
            say("waiting until the toolstack has ended what an earlier run began")
        return "a dom0 still has the disk" if busy else ""

    await wait_until(look, deadline_s=deadline_s, what="the toolstack to let go of the disk")


async def _vbds(xenapi: XenApi, vdi: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of VMs, and of control domains."""
    found: dict[bool, list[str]] = {False: [], True: []}
    for ref in records.refs(await xenapi.record("VDI", vdi), "VBDs"):
        vm = await xenapi.record("VM", str((await xenapi.record("VBD", ref))["VM"]))
        found[bool(vm.get("is_control_domain"))].append(ref)
    return tuple(found[False]), tuple(found[True])


async def marked(xenapi: XenApi, sr: str, mark: str, value: str) -> tuple[str, Record] | None:
    """The disk of an SR that has this mark."""
    for ref in records.refs(await xenapi.record("SR", sr), "VDIs"):
        record = await xenapi.record("VDI", ref)
        if records.config_of(record).get(mark) == value:
            return ref, record
    return None
