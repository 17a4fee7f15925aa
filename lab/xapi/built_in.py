"""SR types that the lab plays itself: `ext`, files beside the host's disk, and `udev`, links to dom0's block devices.

They answer the commands that a driver's executable would, but do not call back: what they answer to a scan is recorded
by the pool's side.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault

from lab.command import run
from lab.xapi.dom0 import SECTOR_BYTES, BlockDevice, Dom0, find

LOOK_TIMEOUT_S = 30.0
COPY_TIMEOUT_S = 600.0
NOT_IMPLEMENTED = Fault(38, "not implemented")
NOTHING_TO_DO = frozenset(
    {"sr_delete", "sr_detach", "vdi_update", "vdi_detach", "vdi_activate", "vdi_deactivate"}
    | {"vdi_epoch_begin", "vdi_epoch_end"}
)


def _info(name: str, description: str, *capabilities: str) -> dict[str, Any]:
    return {
        "name": name,
        "description": f"{description} (played by the lab)",
        "vendor": "Shoal's lab",
        "copyright": "",
        "driver_version": "1.0",
        "required_api_version": "1.0",
        "capabilities": list(capabilities),
        "configuration": [],
    }


class Ext:
    """Local storage: one sparse raw file a VDI, named by its uuid, on the machine's own file system."""

    info = _info(
        "Local EXT", "SR of image files on local storage",
        "SR_CREATE", "SR_DELETE", "SR_ATTACH", "SR_DETACH", "SR_SCAN", "SR_PROBE", "SR_UPDATE",
        "VDI_CREATE", "VDI_DELETE", "VDI_ATTACH", "VDI_DETACH", "VDI_ACTIVATE", "VDI_DEACTIVATE",
        "VDI_RESIZE", "VDI_CLONE", "VDI_SNAPSHOT", "VDI_UPDATE", "VDI_INTRODUCE",
    )  # fmt: skip

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def file(self, location: str) -> Path:
        return self.directory / f"{uuid.UUID(location)}.img"

    def answer(self, command: str, request: dict[str, Any]) -> Any:
        location, arguments = request.get("vdi_location", ""), request["args"]
        if command in NOTHING_TO_DO:
            return None
        if command in {"sr_create", "sr_attach"}:
            return self.directory.mkdir(parents=True, exist_ok=True)
        answers: dict[str, Callable[[], Any]] = {
            "sr_update": self._figures,
            "sr_scan": lambda: [self._describe(file) for file in sorted(self.directory.glob("*.img"))],
            "vdi_create": lambda: self._make(int(arguments[0])),
            "vdi_delete": lambda: self.file(location).unlink(missing_ok=True),
            "vdi_resize": lambda: self._resize(location, int(arguments[0])),
            "vdi_clone": lambda: self._copy(location),
            "vdi_snapshot": lambda: self._copy(location),
            "vdi_introduce": lambda: self._describe(self.file(location)),
            "vdi_attach": lambda: self._attach(location),
        }
        if command not in answers:
            raise NOT_IMPLEMENTED
        return answers[command]()

    def _make(self, size_bytes: int) -> dict[str, str]:
        file = self.file(str(uuid.uuid4()))
        with file.open("xb") as image:
            image.truncate(size_bytes)
        return self._describe(file)

    def _resize(self, location: str, size_bytes: int) -> dict[str, str]:
        file = self.file(location)
        if size_bytes < file.stat().st_size:
            raise Fault(79, "a VDI cannot shrink")
        os.truncate(file, size_bytes)
        return self._describe(file)

    def _copy(self, location: str) -> dict[str, str]:
        copy = self.file(str(uuid.uuid4()))
        run(["cp", "--sparse=always", "--reflink=auto", self.file(location), copy], timeout_s=COPY_TIMEOUT_S)
        return self._describe(copy)

    def _attach(self, location: str) -> dict[str, Any]:
        file = self.file(location)
        if not file.exists():
            raise Fault(144, f"{file} is not there")
        return {"params": str(file), "params_nbd": "", "o_direct": True, "o_direct_reason": "", "xenstore_data": {}}

    def _describe(self, file: Path) -> dict[str, str]:
        status = file.stat()
        return {
            "uuid": file.stem,
            "location": file.stem,
            "virtual_size": str(status.st_size),
            "physical_utilisation": str(status.st_blocks * SECTOR_BYTES),
        }

    def _figures(self) -> dict[str, str]:
        space = os.statvfs(self.directory)
        sizes = [file.stat() for file in self.directory.glob("*.img")]
        used = sum(status.st_blocks * SECTOR_BYTES for status in sizes)
        return {
            "physical_size": str(space.f_frsize * space.f_bavail + used),
            "physical_utilisation": str(used),
            "virtual_allocation": str(sum(status.st_size for status in sizes)),
        }


class Udev:
    """Passthrough: a directory of links in dom0, each a block device of the host."""

    info = _info(
        "udev", "SR which represents devices plugged in via udev as VDIs",
        "SR_ATTACH", "SR_DETACH", "SR_SCAN", "SR_UPDATE", "SR_CREATE", "SR_DELETE",
        "VDI_INTRODUCE", "VDI_ATTACH", "VDI_DETACH", "VDI_UPDATE", "VDI_ACTIVATE", "VDI_DEACTIVATE",
    )  # fmt: skip

    def __init__(self, dom0: Dom0) -> None:
        self.dom0 = dom0

    def answer(self, command: str, request: dict[str, Any]) -> Any:
        location = request.get("device_config", {}).get("location", "")
        if command in NOTHING_TO_DO:
            return None
        match command:
            case "sr_create" | "sr_attach":
                self._check(location)
            case "sr_update":
                return _total(self._scan(location))
            case "sr_scan":
                return self._scan(location)
            case "vdi_attach":
                return {
                    "params": request["vdi_location"],
                    "params_nbd": "",
                    "o_direct": True,
                    "o_direct_reason": "",
                    "xenstore_data": {},
                }
            case _:
                raise NOT_IMPLEMENTED
        return None

    def _check(self, location: str) -> None:
        if not location:
            raise Fault(90, "The SCSIid or location parameter is missing")
        if self.dom0.run(["test", "-d", location], timeout_s=LOOK_TIMEOUT_S).code != 0:
            raise Fault(108, f"{location} is no directory")

    def _scan(self, location: str) -> list[dict[str, str]]:
        argv = ["find", location, "-mindepth", "1", "-maxdepth", "1", "-type", "l", "-printf", "%p\n"]
        links = self.dom0.run(argv, timeout_s=LOOK_TIMEOUT_S).stdout.split("\n")
        return [self._describe(link, device) for link in sorted(links) if link and (device := find(self.dom0, link))]

    def _describe(self, link: str, device: BlockDevice) -> dict[str, str]:
        # The record outlives unplug and scan: the same link of the same host is the same VDI.
        own = uuid.uuid5(uuid.NAMESPACE_URL, f"lab:{self.dom0.name}:{link}")
        size = str(device.size_bytes)
        name = link.rpartition("/")[2]
        return {
            "uuid": str(own), "location": link, "virtual_size": size, "physical_utilisation": size, "name_label": name
        }  # fmt: skip


def _total(found: list[dict[str, str]]) -> dict[str, str]:
    total = str(sum(int(info["virtual_size"]) for info in found))
    return {"physical_size": total, "physical_utilisation": total, "virtual_allocation": total}
