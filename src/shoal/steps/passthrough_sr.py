"""An SR of type udev per host: a folder of links in dom0, each to one partition; its VDIs are the partitions.

What identifies the SR is its PBD: this host, this folder. So a second one can never come to be.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from shoal.clients.ssh import Ssh
from shoal.clients.xenapi import Record, XenApi
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.spec.names import PASSTHROUGH_FOLDER, passthrough_sr_name
from shoal.steps import records, settings
from shoal.steps.tools import Tools

timeout_s = 300.0
DISK_MARK = "shoal:disk"
COMMAND_TIMEOUT_S = 60.0
# $1 folder, then pairs of target and link
LINK = """set -e; mkdir -p "$1"; cd "$1"; shift; while [ $# -gt 0 ]; do ln -sfnT "$1" "$2"; shift 2; done"""


async def apply(action: Action, tools: Tools) -> None:
    host, wanted = action.target, _wanted(action)
    await _link(await tools.dom0(host), tuple(wanted))
    xenapi = tools.xenapi
    sr = await find_sr(xenapi, host)
    if sr is None:
        tools.progress(action, "creating the SR")
        sr = await xenapi.call_async(
            "SR.create",
            await records.host_ref(xenapi, host),
            {"location": PASSTHROUGH_FOLDER},
            0,
            passthrough_sr_name(host),
            "Partitions that Shoal hands to the storage VM. Not for other VMs.",
            "udev",
            "disk",
            False,
            {},
            timeout_s=120,
        )
    await xenapi.call("SR.set_name_label", sr, passthrough_sr_name(host))
    for pbd in await records.pbds(xenapi, sr):
        if not pbd["currently_attached"]:
            await xenapi.call_async("PBD.plug", pbd["ref"], timeout_s=120)
    await xenapi.call_async("SR.scan", sr, timeout_s=120)
    disks = await _disks(xenapi, sr)
    for name, mark in wanted.items():
        if name not in disks:
            raise ShoalError(f"{host}: the SR {passthrough_sr_name(host)!r} does not show the partition {name}")
        await xenapi.call("VDI.set_name_label", disks[name][0], name)
        await records.set_mark(xenapi, "VDI", disks[name][0], DISK_MARK, mark)


async def verify(action: Action, tools: Tools) -> str:
    host = action.target
    sr = await find_sr(tools.xenapi, host)
    if sr is None:
        return "there is no such SR"
    for pbd in await records.pbds(tools.xenapi, sr):
        if not pbd["currently_attached"]:
            return "it is not plugged"
    disks = await _disks(tools.xenapi, sr)
    for name, mark in _wanted(action).items():
        if name not in disks:
            return f"it has no disk {name}"
        record = disks[name][1]
        if record["name_label"] != name or records.config_of(record).get(DISK_MARK) != mark:
            return f"the disk {name} is not marked as Shoal's"
    return ""


def _wanted(action: Action) -> dict[str, str]:
    """The value of each disk's mark, by its name."""
    return {disk["name"]: disk["id"] for disk in settings.tables(action, "disks")}


async def find_sr(xenapi: XenApi, host: str) -> str | None:
    on_host = await records.host_ref(xenapi, host)
    for record in (await xenapi.records("PBD")).values():
        location = records.mapping(record, "device_config").get("location")
        if record["host"] == on_host and location == PASSTHROUGH_FOLDER:
            return str(record["SR"])
    return None


async def find_disk(xenapi: XenApi, host: str, name: str) -> str:
    """The VDI of that name in the host's passthrough SR."""
    sr = await find_sr(xenapi, host)
    found = (await _disks(xenapi, sr)).get(name) if sr else None
    if found is None:
        raise ShoalError(f"{host} has no disk {name} in SR {passthrough_sr_name(host)!r}")
    return found[0]


async def _disks(xenapi: XenApi, sr: str) -> dict[str, tuple[str, Record]]:
    """VDIs by the name of their link. A missing one (link gone) is left out."""
    found = {}
    for ref in records.refs(await xenapi.record("SR", sr), "VDIs"):
        record = await xenapi.record("VDI", ref)
        if not record.get("missing"):
            found[PurePosixPath(str(record["location"])).name] = (ref, record)
    return found


async def _link(dom0: Ssh, names: tuple[str, ...]) -> None:
    """The folder's links, by partition uuid: kernel names like sda3 may change with the next boot."""
    argv = ["lsblk", "--pairs", "--output", "NAME,PARTLABEL,PARTUUID"]
    uuids = parse_partitions((await dom0.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout)
    missing = [name for name in names if not uuids.get(name)]
    if missing:
        raise ShoalError(f"{dom0.name}: no partition is named {', '.join(missing)}")
    pairs = [word for name in names for word in (f"/dev/disk/by-partuuid/{uuids[name]}", name)]
    await dom0.run(["sh", "-c", LINK, "sh", PASSTHROUGH_FOLDER, *pairs], timeout_s=COMMAND_TIMEOUT_S)


def parse_partitions(text: str) -> dict[str, str]:
    """Partition name → unique id, from `lsblk --pairs`. A name that is there twice is refused."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        row = dict(pair.partition("=")[::2] for pair in shlex.split(line))
        name, uuid = row.get("PARTLABEL", ""), row.get("PARTUUID", "").lower()
        if name and uuid and found.setdefault(name, uuid) != uuid and name.startswith("shoal-"):
            raise ShoalError(f"two partitions are named {name}", resolution="Rename the one that is not in use.")
    return found
