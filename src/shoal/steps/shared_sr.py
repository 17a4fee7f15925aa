"""The shared SR: created once in the pool, one PBD per host, all of them plugged.

Of type rbd, each PBD knows all monitors and volume services; of type lvm, each names the image that dom0 has mapped.
"""

from __future__ import annotations

from collections.abc import Mapping

from shoal.clients.xenapi import XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.plan.action import Action
from shoal.steps import ceph_answers, placement_groups, records, settings, sr_owner
from shoal.steps.ceph_mons import v1_addresses
from shoal.steps.ceph_user import read_key
from shoal.steps.tools import Tools

timeout_s = 600.0
SR_TIMEOUT_S = 300.0
OPTIONAL = ("namespace", "data_pool")
IN_PLACE = ("monitors", "volumes")  # where the next call of the driver looks, whoever uses the SR now
REFUSED = ("RBAC_PERMISSION_DENIED", "MESSAGE_METHOD_UNKNOWN")


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    if tools.connections.spec.ceph.existing is None:
        await placement_groups.wait_until_active(action, tools, await tools.ceph())
    wanted = await _device_config(action, tools)
    sr = await _find(xenapi, action) or await sr_owner.take_up(action, tools)
    if sr is None:
        tools.progress(action, "creating the SR")
        config = await _with_secret(wanted, tools)
        master = str((await xenapi.record("pool", await records.pool_ref(xenapi)))["master"])
        sr = await xenapi.call_async(
            *(
                "SR.create",
                master,
                config,
                0,
                action.target,
                sr_owner.description(action),
                settings.text(action, "type"),
            ),
            *("user", True, {}),
            timeout_s=SR_TIMEOUT_S,
        )
    for host in settings.texts(action, "hosts"):
        tools.progress(action, f"plugging on {host}")
        await _plug(tools, sr, host, wanted)


async def verify(action: Action, tools: Tools) -> str:
    sr = await _find(tools.xenapi, action)
    if sr is None:
        return "there is no such SR"
    wanted = await _device_config(action, tools)
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


async def _find(xenapi: XenApi, action: Action) -> str | None:
    name = action.target
    found = await records.by_name(xenapi, "SR", name)
    for ref in found:
        record = await xenapi.record("SR", ref)
        if record["type"] != settings.text(action, "type") or not record["shared"]:
            raise ShoalError(
                f"there is an SR {name!r} of type {record['type']}, not made by Shoal",
                resolution="Rename it, or give the SR in the spec another name.",
            )
    if len(found) > 1:
        raise ShoalError(f"there are {len(found)} SRs called {name!r}", resolution="Rename all but Shoal's own.")
    return found[0] if found else None


async def _device_config(action: Action, tools: Tools) -> dict[str, str]:
    """What every PBD says, but for the secret. The monitors are those that there are now, where we can ask."""
    if settings.text(action, "type") == "lvm":
        return {"device": settings.text(action, "device")}
    given = {
        "pool": settings.text(action, "pool"),
        "user": settings.text(action, "user"),
        "volumes": settings.text(action, "volumes"),
        **{key: value for key in OPTIONAL if (value := settings.optional_text(action, key))},
    }
    if tools.connections.spec.ceph.existing is not None:
        monitors, fsid = settings.optional_text(action, "monitors"), settings.optional_text(action, "fsid")
        return {**given, "monitors": monitors, "fsid": fsid}
    ceph = await tools.ceph()
    found = v1_addresses(await ceph.command(["mon", "dump"]))
    if not found:
        raise ShoalError("no monitor offers messenger v1, which the hosts' kernels need")
    known = await ceph_answers.once(tools, ceph, ["fsid"])
    return {**given, "monitors": ",".join(found), "fsid": known.reveal()}


async def _with_secret(config: dict[str, str], tools: Tools) -> dict[str, str | Secret]:
    """xapi moves `password` into a secret of its own; only a reference to that stays in the PBDs."""
    existing = tools.connections.spec.ceph.existing
    if "user" not in config:
        return {**config}
    secret = existing.key if existing else await read_key(await tools.ceph(), f"client.{config['user']}")
    return {**config, "password": secret}


def is_as_wanted(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """The order of monitors does not matter."""
    keys = {*wanted, *OPTIONAL} - {"monitors"}
    same = all(found.get(key, "") == wanted.get(key, "") for key in keys)
    return same and set(found.get("monitors", "").split(",")) == set(wanted.get("monitors", "").split(","))


async def _mend(xenapi: XenApi, sr: str, pbd: Mapping[str, object], wanted: Mapping[str, str]) -> bool:
    """Tell the PBD of monitors and volume services that came or went, as the keeper does: see decision 0017."""
    seen = records.mapping(pbd, "device_config")
    mended = {**seen, **{key: wanted[key] for key in IN_PLACE if key in wanted}}
    if is_as_wanted(seen, wanted) or not is_as_wanted(mended, wanted):
        return False
    try:
        await xenapi.set_pbd_config(sr, str(pbd["ref"]), mended)
    except XenApiError as error:
        if error.code not in REFUSED:
            raise
        return False  # it is made anew then
    return True


async def _plug(tools: Tools, sr: str, host: str, wanted: dict[str, str]) -> None:
    xenapi = tools.xenapi
    on_host = await records.host_ref(xenapi, host)
    pbd = next((pbd for pbd in await records.pbds(xenapi, sr) if pbd["host"] == on_host), None)
    if pbd is not None and await _mend(xenapi, sr, pbd, wanted):
        pbd = {**pbd, "device_config": await xenapi.call("PBD.get_device_config", pbd["ref"])}
    if pbd is not None and not is_as_wanted(records.mapping(pbd, "device_config"), wanted):
        # A PBD's device_config cannot be changed, so it is made anew. Unplugging fails while a VM there uses the SR.
        if pbd["currently_attached"]:
            await xenapi.call_async("PBD.unplug", pbd["ref"], timeout_s=SR_TIMEOUT_S)
        await xenapi.call("PBD.destroy", pbd["ref"])
        pbd = None
    if pbd is None:
        config = await _with_secret(wanted, tools)
        ref = await xenapi.text("PBD.create", {"host": on_host, "SR": sr, "device_config": config, "other_config": {}})
        await xenapi.call_async("PBD.plug", ref, timeout_s=SR_TIMEOUT_S)
    elif not pbd["currently_attached"]:
        await xenapi.call_async("PBD.plug", pbd["ref"], timeout_s=SR_TIMEOUT_S)
