"""One OSD on one disk of a storage VM.

Method lvm goes through the orchestrator. Method raw goes through cephadm on the storage VM itself, which is what the
orchestrator does, too, but one host after the other. What stands on the disk says whether it is done: BlueStore's
label has the OSD's uuid, and the OSD map has its id. An OSD of the host that was destroyed leaves its id to the next
one, as the orchestrator has it, too.
"""

from __future__ import annotations

import json
from typing import Any

from shoal.clients.ceph import Ceph, CephRefused
from shoal.clients.ssh import CommandFailed, Ssh, Unreachable
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.spec.names import guest_device
from shoal.steps import ceph_answers, guest_unit, settings
from shoal.steps.tools import Tools

timeout_s = 600.0
PREPARE_TIMEOUT_S = 300.0
DEPLOY_TIMEOUT_S = 180.0
UP_TIMEOUT_S = 180.0
ENOENT, EINVAL = 2, 22
LABEL_HEAD = "bluestore block device"
CONF_FILE = "/etc/shoal/osd-{}.json"
# $1 image, $2 fsid, $3 configuration with the key, $4 device, $5 the id of an OSD that was destroyed, if there is one
PREPARE = """set -e; trap 'rm -f "$3"' EXIT; id=${5:+--osd-id $5}
cephadm --image "$1" ceph-volume --fsid "$2" --config-json "$3" -- raw prepare --bluestore --data "$4" $id"""


async def apply(action: Action, tools: Tools) -> None:
    ceph, guest = await tools.ceph(), await tools.storage_vm(action.host)
    is_raw = settings.text(action, "method") == "raw"
    if is_raw:  # the orchestrator ends by itself what it was asked
        await _purge_half_made(tools, ceph)
    osd = await _find(tools, ceph, guest, action)
    if osd is None and is_raw:
        await _prepare(action, tools, ceph, guest)
        osd = await _find(tools, ceph, guest, action)
        if osd is None:
            raise ShoalError(f"no OSD came to be on {settings.text(action, 'device')} of the {guest.name}")
    elif osd is None:
        await _add(action, tools, ceph)
    if osd is not None and is_raw and not osd["up"]:
        tools.progress(action, f"starting osd.{osd['osd']}")
        await _deploy(tools, ceph, guest, osd)

    async def look() -> str:
        nonlocal osd
        osd = await _find(tools, ceph, guest, action)
        return _judge(osd)

    if _judge(osd):
        await wait_until(look, deadline_s=UP_TIMEOUT_S, what=f"the OSD {action.target} to be up", every_s=3)
    if osd is not None and not osd["in"]:  # the one before it was emptied
        await ceph.text(["osd", "in", str(osd["osd"])])
    await show_orchestrator(ceph, settings.text(action, "name"))


async def show_orchestrator(ceph: Ceph, name: str) -> None:
    """It looks at its hosts every few minutes; until then it takes the OSD for a stray, or for one that failed."""
    try:
        await ceph.text(["orch", "ps", name, "--refresh"], timeout_s=60)
    except CephRefused as error:
        if error.code not in (ENOENT, EINVAL):  # not a host of the cluster yet: when it becomes one, it is looked at
            raise


async def verify(action: Action, tools: Tools) -> str:
    ceph, guest = await tools.ceph(), await tools.storage_vm(action.host)
    return _judge(await _find(tools, ceph, guest, action))


def _judge(osd: dict[str, Any] | None) -> str:
    if osd is None:
        return "no OSD of the cluster is on the disk"
    return "" if osd["up"] else f"osd.{osd['osd']} is down"


async def _find(tools: Tools, ceph: Ceph, guest: Ssh, action: Action) -> dict[str, Any] | None:
    """The OSD of this cluster that is on the disk. Refuses a disk with somebody else's."""
    device = settings.text(action, "device")
    if settings.text(action, "method") != "raw":
        return await _find_by_metadata(ceph, _alive(await _osds(tools, ceph)), action)
    label = (await guest.run(["head", "-c", "60", device], timeout_s=30)).stdout
    if not label.startswith(LABEL_HEAD):
        return None
    uuid = label.splitlines()[1].strip()
    osd_map = _alive(await _osds(tools, ceph))  # asked after: one that was made meanwhile is in it
    if uuid not in osd_map:
        raise ShoalError(
            f"{device} of the {guest.name} has an OSD of another cluster",
            details=f"Its OSD uuid is {uuid}, which this cluster does not know.",
            resolution="If nothing of it is needed, remove its partition and run apply again with `wipe: true`.",
        )
    return dict(osd_map[uuid])


async def _find_by_metadata(ceph: Ceph, osd_map: dict[str, Any], action: Action) -> dict[str, Any] | None:
    name, device = settings.text(action, "name"), settings.text(action, "device").removeprefix("/dev/")
    known = await ceph.command(["osd", "metadata"]) if osd_map else []
    osds = {osd["osd"]: osd for osd in osd_map.values()}
    for row in known if isinstance(known, list) else []:
        if row.get("hostname") == name and device in str(row.get("devices", "")).split(",") and row["id"] in osds:
            return dict(osds[row["id"]])
    return None


async def _osds(tools: Tools, ceph: Ceph) -> list[dict[str, Any]]:
    osd_map = await ceph_answers.fresh(tools, ceph, ["osd", "dump"])
    assert isinstance(osd_map, dict)
    return list(osd_map["osds"])


def _alive(osds: list[dict[str, Any]]) -> dict[str, Any]:
    """By uuid. Without the destroyed ones, which have none, and whose metadata Ceph keeps."""
    return {str(osd["uuid"]): osd for osd in osds if not _is_destroyed(osd)}


def _is_destroyed(osd: dict[str, Any]) -> bool:
    return "destroyed" in osd["state"]


async def _purge_half_made(tools: Tools, ceph: Ceph) -> None:
    """Ids that a killed run has taken, for OSDs that never started. Once per run, before the first is made."""
    async with tools.locks["ceph_osd"]:
        if "ceph_osd purged" in tools.done:
            return
        tools.done.add("ceph_osd purged")  # from here on, one that is being made looks just like half a one
        osds = _alive(await _osds(tools, ceph))
        half = {uuid: osd for uuid, osd in osds.items() if "new" in osd["state"] and not osd["up"]}
        if not half:
            return
        try:
            on_disk = await _uuids_on_disks(tools)
        except (Unreachable, CommandFailed):
            return  # the OSD may be on a host that is away, or on a disk that its storage VM has not got yet
        for uuid, osd in half.items():
            if uuid not in on_disk:
                await ceph.text(["osd", "purge-new", str(osd["osd"]), "--yes-i-really-mean-it"])


async def _uuids_on_disks(tools: Tools) -> set[str]:
    """Of all disks of the spec, each looked at when nothing is being prepared on it any more."""
    found = set()
    for host in tools.connections.spec.hosts:
        guest = await tools.storage_vm(host.name)
        for number in host.disk_numbers:
            device = guest_device(number)
            unit = _unit(device.rpartition("/")[2])
            if await guest_unit.is_running(guest, unit):
                await guest_unit.wait(guest, unit, timeout_s=PREPARE_TIMEOUT_S)
            lines = (await guest.run(["head", "-c", "60", device], timeout_s=30)).stdout.splitlines()
            if len(lines) > 1 and lines[0] == LABEL_HEAD:
                found.add(lines[1].strip())
    return found


async def _prepare(action: Action, tools: Tools, ceph: Ceph, guest: Ssh) -> None:
    """Give the disk an OSD id and a BlueStore. The key lies in a file of root's own for as long as that takes."""
    device, osds = settings.text(action, "device"), await _osds(tools, ceph)
    known = await _find_by_metadata(ceph, _alive(osds), action)
    if known is not None:
        raise ShoalError(
            f"osd.{known['osd']} was on {device} of the {guest.name}, and its label cannot be read",
            resolution="Where the other copies are complete, replace the disk: shoal disk replace.",
        )
    name = device.rpartition("/")[2]
    conf_file, unit = CONF_FILE.format(name), _unit(name)
    tools.progress(action, f"preparing {device}")
    if not await guest_unit.is_running(guest, unit):
        key = await ceph_answers.once(tools, ceph, ["auth", "get", "client.bootstrap-osd"])
        await guest.write_file(conf_file, await _config(tools, ceph, key), mode=0o600)
    left = await left_id(action, tools, ceph) if any(map(_is_destroyed, osds)) else ""
    words = (await _image(tools, ceph), await _fsid(tools, ceph), conf_file, device, left)
    script = guest_unit.Script(unit, PREPARE, words)
    await guest_unit.run(guest, script, timeout_s=PREPARE_TIMEOUT_S)


async def left_id(action: Action, tools: Tools, ceph: Ceph) -> str:
    """The id of a destroyed OSD of this host that no other disk of this run has taken; "" for a new one."""
    tree = await ceph.command(["osd", "tree", "destroyed"])
    nodes = tree.get("nodes", ()) if isinstance(tree, dict) else ()
    host = settings.text(action, "name").partition(".")[0]
    own = [node for node in nodes if node["type"] == "host" and node["name"] == host]
    for number in sorted(child for node in own for child in node.get("children", ())):
        if f"osd.{number} taken" not in tools.done:
            tools.done.add(f"osd.{number} taken")
            return str(number)
    return ""


async def _deploy(tools: Tools, ceph: Ceph, guest: Ssh, osd: dict[str, Any]) -> None:
    name = f"osd.{osd['osd']}"
    argv = ["cephadm", "--image", await _image(tools, ceph), "deploy", "--fsid", await _fsid(tools, ceph)]
    argv += ["--name", name, "--osd-fsid", str(osd["uuid"]), "--skip-firewalld", "--config-json", "-"]
    key = Secret(await ceph.text(["auth", "get", name]))
    await guest.run(argv, timeout_s=DEPLOY_TIMEOUT_S, input=await _config(tools, ceph, key))


async def _add(action: Action, tools: Tools, ceph: Ceph) -> None:
    """Through the orchestrator; its commands are one after the other anyway."""
    place = f"{settings.text(action, 'name')}:{settings.text(action, 'device')}"
    async with tools.locks["ceph_osd"]:
        await ceph.text(["orch", "daemon", "add", "osd", place], timeout_s=PREPARE_TIMEOUT_S)


async def _config(tools: Tools, ceph: Ceph, keyring: Secret) -> bytes:
    """What cephadm gives a daemon: a minimal ceph.conf, which the orchestrator keeps up to date, and a keyring."""
    conf = await ceph_answers.once(tools, ceph, ["config", "generate-minimal-conf"])
    return json.dumps({"config": f"{conf.reveal()}\n", "keyring": f"{keyring.reveal().strip()}\n"}).encode()


async def _image(tools: Tools, ceph: Ceph) -> str:
    """What the orchestrator would deploy. The spec may name another already, or still, when an upgrade is due."""
    return (await ceph_answers.once(tools, ceph, ["config", "get", "osd", "container_image"])).reveal()


async def _fsid(tools: Tools, ceph: Ceph) -> str:
    return (await ceph_answers.once(tools, ceph, ["fsid"])).reveal()


def _unit(name: str) -> str:
    return f"shoal-osd-prepare-{name}"
