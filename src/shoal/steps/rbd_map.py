"""A dom0 maps the images that SRs of type lvm lie on: settings and key, the units for every boot, and the maps now."""

from __future__ import annotations

import json

from shoal.clients.ceph import Ceph
from shoal.clients.ssh import CommandFailed
from shoal.kit.errors import ShoalError
from shoal.kit.shipped import DOM0_MAPPER, DOM0_UNITS
from shoal.plan.action import Action
from shoal.spec.names import MAPS_FILE, MAPS_KEY_FILE
from shoal.steps import settings
from shoal.steps.ceph_mons import v1_addresses
from shoal.steps.ceph_user import read_key
from shoal.steps.tools import Tools

timeout_s = 240.0
MAP_TIMEOUT_S = 90.0
ENABLE_TIMEOUT_S = 60.0
MAPPER = ("python3", "-IS", DOM0_MAPPER)
UNITS = tuple(path.rpartition("/")[2] for path in DOM0_UNITS)


async def apply(action: Action, tools: Tools) -> None:
    dom0, ceph = await tools.dom0(action.target), await tools.ceph()
    key = (await read_key(ceph, f"client.{settings.text(action, 'user')}")).reveal().encode()
    if await dom0.read_file(MAPS_KEY_FILE) != key:
        await dom0.write_file(MAPS_KEY_FILE, key, mode=0o600)
    wanted = await _wanted(action, ceph)
    if await dom0.read_file(MAPS_FILE) != wanted:
        await dom0.write_file(MAPS_FILE, wanted, mode=0o600)
    await dom0.run(["systemctl", "--quiet", "enable", *UNITS], timeout_s=ENABLE_TIMEOUT_S)
    tools.progress(action, "mapping")
    try:
        await dom0.run([*MAPPER, "now"], timeout_s=MAP_TIMEOUT_S)
    except CommandFailed as error:
        said = error.completed.stderr.strip()
        raise ShoalError(f"on {action.target}, an image could not be mapped", details=said[-1000:]) from error


async def verify(action: Action, tools: Tools) -> str:
    dom0, ceph = await tools.dom0(action.target), await tools.ceph()
    if await dom0.read_file(MAPS_FILE) != await _wanted(action, ceph):
        return f"{MAPS_FILE} is not as wanted"
    key = await read_key(ceph, f"client.{settings.text(action, 'user')}")
    if await dom0.read_file(MAPS_KEY_FILE) != key.reveal().encode():
        return f"{MAPS_KEY_FILE} has not the user's key"
    enabled = await dom0.run(["systemctl", "is-enabled", *UNITS], timeout_s=ENABLE_TIMEOUT_S, check=False)
    if enabled.code != 0:
        return "nothing maps at boot"
    done = await dom0.run([*MAPPER, "check"], timeout_s=MAP_TIMEOUT_S, check=False)
    return "" if done.code == 0 else done.stderr.strip()[-300:] or "not mapped"


async def _wanted(action: Action, ceph: Ceph) -> bytes:
    """What dom0 is told, but for the key. The monitors are those that there are now."""
    monitors = v1_addresses(await ceph.command(["mon", "dump"]))
    if not monitors:
        raise ShoalError("no monitor offers messenger v1, which the hosts' kernels need")
    told = {
        "fsid": (await ceph.text(["fsid"])).strip(),
        "user": settings.text(action, "user"),
        "monitors": monitors,
        "images": settings.texts(action, "images"),
    }
    return (json.dumps(told, indent=1) + "\n").encode()
