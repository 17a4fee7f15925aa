"""The lab's driver of SR type lvm, in the place of XenServer's own: real LVM2 on a real device, raw volumes only.

As there, only the SR's master writes LVM's metadata, and it uses a folder of settings of its own. A volume carries its
names as tags, so that a scan brings them back.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, dumps, loads

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
XAPI = "/var/lib/xcp/xapi"
GROUP = "VG_XenStorage-"
VOLUME = "LV-"
EXTENT_BYTES = 4 << 20
GROWTH_BYTES = 32 << 20  # less than that is what LVM keeps for itself
TIMEOUT_S = 120.0
NODE_TIMEOUT_S = 5.0
NULL = "OpaqueRef:NULL"
TEXT_MAX_BYTES = 400
# SM's own numbers.
IN_USE, VDI_IN_USE, NOT_IMPLEMENTED, NOT_EMPTY, NO_SPACE, UNAVAILABLE = 16, 24, 38, 39, 44, 47
SHRINK, NO_DEVICE, VDI_MISSING, FAILED = 79, 90, 144, 202


@dataclass(frozen=True, slots=True)
class Volume:
    size_bytes: int
    name: str = ""
    description: str = ""


class Local(http.client.HTTPConnection):
    """To the toolstack's socket in this dom0."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(XAPI)


class Request:
    """What xapi asked, the calls back to it, and LVM's commands for it."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.members = members
        self.arguments: list[str] = members.get("args") or []
        self.config: dict[str, str] = members.get("device_config") or {}
        self.is_master = self.config.get("SRmaster") == "true"

    @property
    def device(self) -> str:
        if not self.config.get("device"):
            raise Fault(NO_DEVICE, "device_config has no device")
        return self.config["device"]

    @property
    def group(self) -> str:
        return f"{GROUP}{self.members['sr_uuid']}"

    @property
    def vdi(self) -> str:
        return str(uuid.UUID(self.members["vdi_location"]))

    @property
    def volume(self) -> str:
        return f"{self.group}/{VOLUME}{self.vdi}"

    @property
    def path(self) -> str:
        return f"/dev/{self.volume}"

    def need_master(self) -> None:
        if not self.is_master:
            raise Fault(FAILED, f"{self.members['command']} is for the SR's master")

    def call(self, method: str, *parameters: Any) -> Any:
        params = [self.members["session_ref"], *parameters]
        connection = Local("localhost")
        try:
            connection.request(
                "POST", "/jsonrpc", json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            )
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer.get("error"):
            raise Fault(FAILED, f"xapi refused {method}: {json.dumps(answer['error'])}")
        return answer.get("result")

    def try_lvm(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command of LVM's, with the settings of the SR's master or of a member."""
        folder = "/etc/lvm/master" if self.is_master else "/etc/lvm"
        environment = {"PATH": PATH, "LVM_SYSTEM_DIR": folder, "LVM_SUPPRESS_FD_WARNINGS": "1", "LC_ALL": "C"}
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env=environment,
            check=False,
        )

    def lvm(self, *argv: str) -> str:
        done = self.try_lvm(*argv)
        if done.returncode != 0:
            code = NO_SPACE if "insufficient free space" in done.stderr else FAILED
            raise Fault(code, f"{' '.join(argv)}: {done.stderr.strip()[-600:]}")
        return done.stdout

    def report(self, command: str, fields: str, target: str) -> list[dict[str, str]]:
        """Rows of one of LVM's reports."""
        options = ("--reportformat", "json", "--units", "b", "--nosuffix", "-o", fields)
        rows: list[dict[str, str]] = next(iter(json.loads(self.lvm(command, *options, target))["report"][0].values()))
        return rows


def owner_of(request: Request) -> str:
    """The volume group on the device; "" when there is none, or LVM does not see it."""
    done = request.try_lvm("pvs", "--noheadings", "-o", "vg_name", request.device)
    return done.stdout.strip() if done.returncode == 0 else ""


def volumes(request: Request) -> dict[str, Volume]:
    """The group's volumes by VDI. A report that fails raises: it must never look like an empty one."""
    found = {}
    for row in request.report("lvs", "lv_name,lv_size,lv_tags", request.group):
        if row["lv_name"].startswith(VOLUME):
            texts = dict(tag.split(".", 1) for tag in row["lv_tags"].split(",") if "." in tag)
            names = (bytes.fromhex(texts.get(key, "")).decode(errors="replace") for key in ("name", "description"))
            found[row["lv_name"].removeprefix(VOLUME)] = Volume(int(row["lv_size"]), *names)
    return found


def write_tag(key: str, text: str) -> str:
    """LVM's tags know few characters."""
    return f"{key}.{text.encode()[:TEXT_MAX_BYTES].hex()}"


def rounded(size_bytes: int) -> int:
    return max(1, -(-size_bytes // EXTENT_BYTES)) * EXTENT_BYTES


def introduce(
    request: Request, own: str, volume: Volume, *, vdi_type: str = "user", is_read_only: bool = False
) -> None:
    size = str(volume.size_bytes)
    request.call(
        "VDI.db_introduce", own, volume.name, volume.description, request.members["sr_ref"], vdi_type, False,
        is_read_only, {}, own, {}, {}, True, size, size, NULL, False, "19700101T00:00:00Z", NULL, False,
    )  # fmt: skip


def sr_create(request: Request) -> None:
    request.need_master()
    load_device_mapper()
    if not Path(request.device).exists():
        raise Fault(UNAVAILABLE, f"{request.device} is not there: its image is not mapped on this host")
    owner = owner_of(request)
    if owner and owner != request.group:
        raise Fault(IN_USE, f"{request.device} holds the volume group {owner}")
    if not owner:
        # Without --yes: a device with anything on it is refused.
        request.lvm("pvcreate", "--metadatasize", "10m", request.device)
        request.lvm("vgcreate", "--setautoactivation", "n", request.group, request.device)


def sr_attach(request: Request) -> None:
    load_device_mapper()
    if not Path(request.device).exists():
        raise Fault(UNAVAILABLE, f"{request.device} is not there: its image is not mapped on this host")
    if owner_of(request) != request.group:
        raise Fault(UNAVAILABLE, f"LVM sees no volume group {request.group} on {request.device}")
    if request.is_master:
        sr_scan(request)


def load_device_mapper() -> None:
    if not Path("/sys/class/misc/device-mapper").exists():
        subprocess.run(["modprobe", "dm-mod"], check=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL)


def sr_detach(request: Request) -> None:
    done = request.try_lvm("vgchange", "--activate", "n", request.group)
    if done.returncode != 0 and Path(request.device).exists():
        raise Fault(IN_USE, done.stderr.strip()[-600:])


def sr_delete(request: Request) -> None:
    request.need_master()
    if volumes(request):
        raise Fault(NOT_EMPTY, f"{request.group} has volumes")
    request.lvm("vgremove", request.group)
    request.lvm("pvremove", request.device)


def sr_scan(request: Request) -> None:
    """The pool's records as the volume group has it."""
    if request.is_master:
        take_growth(request)
    found = volumes(request)
    refs = request.call("SR.get_VDIs", request.members["sr_ref"])
    known = {request.call("VDI.get_location", ref): ref for ref in refs}
    for own in sorted(found.keys() - known.keys()):
        introduce(request, own, found[own])
    for own in sorted(known.keys() - found.keys()):
        request.call("VDI.db_forget", known[own])
    for own in sorted(known.keys() & found.keys()):
        request.call("VDI.set_virtual_size", known[own], str(found[own].size_bytes))
    sr_update(request)


def take_growth(request: Request) -> None:
    """The device has been made larger."""
    (row,) = request.report("pvs", "dev_size,pv_size", request.device)
    if int(row["dev_size"]) - int(row["pv_size"]) > GROWTH_BYTES:
        request.lvm("pvresize", request.device)


def sr_update(request: Request) -> None:
    (row,) = request.report("vgs", "vg_size,vg_free", request.group)
    total, used = int(row["vg_size"]), int(row["vg_size"]) - int(row["vg_free"])
    for name, value in (("physical_size", total), ("physical_utilisation", used), ("virtual_allocation", used)):
        request.call(f"SR.set_{name}", request.members["sr_ref"], str(value))


def sr_probe(request: Request) -> str:
    owner, found = owner_of(request), ""
    if owner.startswith(GROUP):
        found = f"<SR><UUID>{owner.removeprefix(GROUP)}</UUID><Devlist>{request.device}</Devlist></SR>"
    return f'<?xml version="1.0" ?><SRlist>{found}</SRlist>'


def vdi_create(request: Request) -> dict[str, str]:
    request.need_master()
    own = request.members.get("vdi_uuid") or str(uuid.uuid4())
    volume = Volume(rounded(int(request.arguments[0])), *request.arguments[1:3])
    tags = ("--addtag", write_tag("name", volume.name), "--addtag", write_tag("description", volume.description))
    size = ("--size", f"{volume.size_bytes}b")
    inactive = ("--activate", "n", "--zero", "n", "--wipesignatures", "n")
    request.lvm("lvcreate", "--name", f"{VOLUME}{own}", *size, *inactive, *tags, request.group)
    is_read_only, vdi_type = request.arguments[7:8] == ["true"], request.members.get("vdi_type") or "user"
    try:
        introduce(request, own, volume, vdi_type=vdi_type, is_read_only=is_read_only)
    except Fault:
        request.lvm("lvremove", "--yes", f"{request.group}/{VOLUME}{own}")
        raise
    sr_update(request)
    return {"uuid": own, "location": own}


def vdi_introduce(request: Request) -> dict[str, str]:
    own = request.vdi
    introduce(request, own, find(request))
    return {"uuid": own, "location": own}


def find(request: Request) -> Volume:
    found = volumes(request).get(request.vdi)
    if found is None:
        raise Fault(VDI_MISSING, f"there is no volume {request.volume}")
    return found


def vdi_delete(request: Request) -> None:
    request.need_master()
    if request.vdi in volumes(request):
        done = request.try_lvm("lvremove", "--yes", request.volume)
        if done.returncode != 0:
            raise Fault(VDI_IN_USE, done.stderr.strip()[-600:])
    request.call("VDI.db_forget", request.members["vdi_ref"])
    sr_update(request)


def vdi_attach(request: Request) -> dict[str, Any]:
    find(request)
    path = {"params": request.path, "params_nbd": "", "xenstore_data": {}}
    return {**path, "o_direct": True, "o_direct_reason": ""}


def vdi_activate(request: Request) -> None:
    request.lvm("lvchange", "--activate", "y", request.volume)
    end = time.monotonic() + NODE_TIMEOUT_S
    while not Path(request.path).exists():
        if time.monotonic() > end:
            raise Fault(FAILED, f"{request.path} did not appear")
        time.sleep(0.1)


def vdi_deactivate(request: Request) -> None:
    done = request.try_lvm("lvchange", "--activate", "n", request.volume)
    if done.returncode != 0 and Path(request.path).exists():
        raise Fault(VDI_IN_USE, done.stderr.strip()[-600:])


def vdi_resize(request: Request) -> dict[str, str]:
    request.need_master()
    wanted, now_bytes = rounded(int(request.arguments[0])), find(request).size_bytes
    if wanted < now_bytes:
        raise Fault(SHRINK, "a volume cannot shrink")
    if wanted > now_bytes:
        request.lvm("lvextend", "--size", f"{wanted}b", request.volume)
    request.call("VDI.set_virtual_size", request.members["vdi_ref"], str(wanted))
    sr_update(request)
    return {"uuid": request.vdi, "location": request.vdi}


def vdi_update(request: Request) -> None:
    """The names as xapi has them now."""
    if not request.is_master:
        return
    known, argv = find(request), []
    for key, field, before in (
        ("name", "name_label", known.name),
        ("description", "name_description", known.description),
    ):
        text = request.call(f"VDI.get_{field}", request.members["vdi_ref"])
        if write_tag(key, text) != write_tag(key, before):
            argv += ["--deltag", write_tag(key, before), "--addtag", write_tag(key, text)]
    if argv:
        request.lvm("lvchange", *argv, request.volume)


def vdi_epoch(request: Request) -> None:
    """xapi sends it for every disk whenever a VM starts or stops; only on_boot=reset, which is not here, has use for it."""


COMMANDS: dict[str, Callable[[Request], Any]] = {
    "sr_create": sr_create,
    "sr_attach": sr_attach,
    "sr_detach": sr_detach,
    "sr_delete": sr_delete,
    "sr_scan": sr_scan,
    "sr_update": sr_update,
    "sr_probe": sr_probe,
    "vdi_create": vdi_create,
    "vdi_introduce": vdi_introduce,
    "vdi_delete": vdi_delete,
    "vdi_attach": vdi_attach,
    "vdi_activate": vdi_activate,
    "vdi_deactivate": vdi_deactivate,
    "vdi_detach": vdi_deactivate,
    "vdi_resize": vdi_resize,
    "vdi_update": vdi_update,
    "vdi_epoch_begin": vdi_epoch,
    "vdi_epoch_end": vdi_epoch,
}


def answer(text: str) -> Any:
    parameters, command = loads(text)
    members: Any = parameters[0]
    if command not in COMMANDS:
        raise Fault(NOT_IMPLEMENTED, f"the lab's lvm driver has no {command}")
    try:
        return COMMANDS[command](Request(members))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, http.client.HTTPException) as error:
        raise Fault(FAILED, f"{command}: {type(error).__name__}: {error}") from error


def main(text: str) -> None:
    try:
        print(dumps((answer(text),), methodresponse=True, allow_none=True))
    except Fault as fault:
        print(dumps(fault, methodresponse=True))
