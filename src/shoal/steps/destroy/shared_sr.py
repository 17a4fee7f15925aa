"""A shared SR goes: looked at once more, unplugged on every host, forgotten; its key is in no secret afterwards.

On a cluster of our own it is forgotten, since its images go with the storage VMs. On somebody else's cluster the images
are deleted one by one and the driver gives the place back.
"""

from __future__ import annotations

from shoal.clients.xenapi import Record, XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 3600.0
CALL_TIMEOUT_S = 300.0
GONE = ("UUID_INVALID", "HANDLE_INVALID")
KEY = "password_secret"


async def apply(action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    sr = await _find(xenapi, action)
    if sr is None:
        return
    vdis = await _vdis(xenapi, sr)
    await _refuse(action, xenapi, vdis)
    is_foreign = settings.flag(action, "on_existing_cluster")
    if is_foreign:
        for number, (ref, _) in enumerate(vdis, start=1):
            tools.progress(action, f"deleting disk {number} of {len(vdis)}")
            await _if_there(xenapi, "VDI.destroy", ref)
    for pbd in await records.pbds(xenapi, sr):
        if pbd["currently_attached"]:
            tools.progress(action, f"unplugging on {await xenapi.text('host.get_name_label', pbd['host'])}")
            await xenapi.call_async("PBD.unplug", pbd["ref"], timeout_s=CALL_TIMEOUT_S)
    await _destroy_stray_keys(xenapi, sr)
    has_pbds = bool(await records.pbds(xenapi, sr))
    await xenapi.call_async("SR.destroy" if is_foreign and has_pbds else "SR.forget", sr, timeout_s=CALL_TIMEOUT_S)


async def verify(action: Action, tools: Tools) -> str:
    return "the SR is still there" if await _find(tools.xenapi, action) else ""


async def _find(xenapi: XenApi, action: Action) -> str | None:
    try:
        return await xenapi.text("SR.get_by_uuid", settings.text(action, "uuid"))
    except XenApiError as error:
        if error.code in GONE:
            return None
        raise


async def _vdis(xenapi: XenApi, sr: str) -> tuple[tuple[str, Record], ...]:
    refs = records.refs(await xenapi.record("SR", sr), "VDIs")
    return tuple([(ref, await xenapi.record("VDI", ref)) for ref in refs])


async def _refuse(action: Action, xenapi: XenApi, vdis: tuple[tuple[str, Record], ...]) -> None:
    """What has come since the plan was made."""
    for _, vdi in vdis:
        if not settings.flag(action, "with_disks"):
            raise ShoalError(
                f"disk {vdi['name_label']!r} lies on SR {action.target!r} now",
                resolution="Move it with shoal disk move, or say --with-disks to lose it.",
            )
        for ref in records.refs(vdi, "VBDs"):
            if (await xenapi.record("VBD", ref))["currently_attached"]:
                raise ShoalError(
                    f"disk {vdi['name_label']!r} is in use", resolution="Shut its VM down, and run the command again."
                )


async def _destroy_stray_keys(xenapi: XenApi, sr: str) -> None:
    """xapi makes secrets of a key that it is given, and forgets some. Those of the PBDs it removes itself.

    Another SR may have the same key, in secrets of its own.
    """
    kept = {records.mapping(pbd, "device_config").get(KEY, "") for pbd in await records.pbds(xenapi, sr)} - {""}
    keys = set()
    for uuid in kept:
        try:
            keys.add(await xenapi.text("secret.get_value", await xenapi.text("secret.get_by_uuid", uuid)))
        except XenApiError as error:
            if error.code not in GONE:
                raise
    used = {records.mapping(pbd, "device_config").get(KEY, "") for pbd in (await xenapi.records("PBD")).values()}
    for ref, record in (await xenapi.records("secret")).items() if keys else ():
        if record["value"] in keys and record["uuid"] not in used and not records.config_of(record):
            await xenapi.call("secret.destroy", ref)


async def _if_there(xenapi: XenApi, method: str, ref: str) -> None:
    try:
        await xenapi.call_async(method, ref, timeout_s=CALL_TIMEOUT_S)
    except XenApiError as error:
        if error.code not in GONE:
            raise
