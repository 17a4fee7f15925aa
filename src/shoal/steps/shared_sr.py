"""The shared SR: created once in the pool, one PBD per host that knows all monitors, all of them plugged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shoal.clients.ceph import Ceph
from shoal.clients.xenapi import XenApi
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.ceph_user import read_key
from shoal.steps.tools import Tools

timeout_s = 600.0
SR_TIMEOUT_S = 300.0
CLEAN_TIMEOUT_S = 300.0


async def apply(action: Action, tools: Tools) -> None:
    ceph, xenapi = await tools.ceph(), tools.xenapi
    await wait_until(
        lambda: _unclean(action, tools, ceph),
        deadline_s=CLEAN_TIMEOUT_S,
        what=f"the pool {settings.text(action, 'pool')} to be active and clean",
    )
    wanted = await _device_config(action, ceph)
    sr = await _find(xenapi, action.target)
    if sr is None:
        tools.progress(action, "creating the SR")
        secret = await read_key(ceph, f"client.{settings.text(action, 'user')}")
        # xapi moves `password` into a secret of its own; only a reference to that stays in the PBDs.
        config = {**wanted, "password": secret}
        master = str((await xenapi.record("pool", await records.pool_ref(xenapi)))["master"])
        description = f"Ceph pool {settings.text(action, 'pool')}, kept by Shoal"
        sr = await xenapi.call_async(
            *("SR.create", master, config, 0, action.target, description, settings.text(action, "type")),
            *("user", True, {}),
            timeout_s=SR_TIMEOUT_S,
        )
    for host in settings.texts(action, "hosts"):
        tools.progress(action, f"plugging on {host}")
        await _plug(xenapi, ceph, sr, host, wanted)


async def verify(action: Action, tools: Tools) -> str:
    sr = await _find(tools.xenapi, action.target)
    if sr is None:
        return "there is no such SR"
    wanted = await _device_config(action, await tools.ceph())
    by_host = {str(pbd["host"]): pbd for pbd in await records.pbds(tools.xenapi, sr)}
    for host in settings.texts(action, "hosts"):
        pbd = by_host.get(await records.host_ref(tools.xenapi, host))
        if pbd is None:
            return f"no PBD on {host}"
        if not pbd["currently_attached"]:
            return f"not plugged on {host}"
        if not is_as_wanted(records.mapping(pbd, "device_config"), wanted):
            return f"the PBD of {host} is not as wanted"
    return ""


async def _find(xenapi: XenApi, name: str) -> str | None:
    found = await records.by_name(xenapi, "SR", name)
    for ref in found:
        record = await xenapi.record("SR", ref)
        if record["type"] != "rbd" or not record["shared"]:
            raise ShoalError(
                f"there is an SR {name!r} of type {record['type']}, not made by Shoal",
                resolution="Rename it, or give the SR in the spec another name.",
            )
    if len(found) > 1:
        raise ShoalError(f"there are {len(found)} SRs called {name!r}", resolution="Rename all but Shoal's own.")
    return found[0] if found else None


async def _device_config(action: Action, ceph: Ceph) -> dict[str, str]:
    """What every PBD says, but for the secret. The monitors are those that there are now."""
    monitors = v1_addresses(await ceph.command(["mon", "dump"]))
    if not monitors:
        raise ShoalError("no monitor offers messenger v1, which the hosts' kernels need")
    return {
        "monitors": ",".join(monitors),
        "pool": settings.text(action, "pool"),
        "user": settings.text(action, "user"),
        "volumes": settings.text(action, "volumes"),
        "fsid": (await ceph.text(["fsid"])).strip(),
    }


def v1_addresses(mon_map: object) -> tuple[str, ...]:
    """ "10.77.0.21:6789" of each monitor, from `ceph mon dump`."""
    mons: list[dict[str, Any]] = mon_map.get("mons", []) if isinstance(mon_map, dict) else []
    return tuple(
        sorted(
            str(address["addr"])
            for mon in mons
            for address in mon["public_addrs"]["addrvec"]
            if address["type"] == "v1"
        )
    )


def is_as_wanted(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """The order of monitors does not matter."""
    same = all(found.get(key) == value for key, value in wanted.items() if key != "monitors")
    return same and set(found.get("monitors", "").split(",")) == set(wanted["monitors"].split(","))


async def _plug(xenapi: XenApi, ceph: Ceph, sr: str, host: str, wanted: dict[str, str]) -> None:
    on_host = await records.host_ref(xenapi, host)
    pbd = next((pbd for pbd in await records.pbds(xenapi, sr) if pbd["host"] == on_host), None)
    if pbd is not None and not is_as_wanted(records.mapping(pbd, "device_config"), wanted):
        # A PBD's device_config cannot be changed, so it is made anew. Unplugging fails while a VM there uses the SR.
        if pbd["currently_attached"]:
            await xenapi.call_async("PBD.unplug", pbd["ref"], timeout_s=SR_TIMEOUT_S)
        await xenapi.call("PBD.destroy", pbd["ref"])
        pbd = None
    if pbd is None:
        secret = await read_key(ceph, f"client.{wanted['user']}")
        config = {**wanted, "password": secret}
        ref = await xenapi.text("PBD.create", {"host": on_host, "SR": sr, "device_config": config, "other_config": {}})
        await xenapi.call_async("PBD.plug", ref, timeout_s=SR_TIMEOUT_S)
    elif not pbd["currently_attached"]:
        await xenapi.call_async("PBD.plug", pbd["ref"], timeout_s=SR_TIMEOUT_S)


async def _unclean(action: Action, tools: Tools, ceph: Ceph) -> str:
    """Requests to a pool whose placement groups are not active would hang."""
    status = await ceph.command(["pg", "stat"])
    summary = status.get("pg_summary", status) if isinstance(status, dict) else {}
    states = {str(row["name"]): int(row["num"]) for row in summary.get("num_pg_by_state", ())}
    other = {name: count for name, count in states.items() if "active" not in name.split("+")}
    if not states or other:
        seen = ", ".join(f"{count} {name}" for name, count in other.items()) or "no placement groups yet"
        tools.progress(action, f"waiting for Ceph: {seen}")
        return seen
    return ""
