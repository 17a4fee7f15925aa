"""A virtual disk is written to FILE.part, and that is renamed once all of it is there and on this machine's disk."""

from __future__ import annotations

import os
from pathlib import Path

from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import settings, transfer
from shoal.steps.tools import Tools

timeout_s = transfer.TIMEOUT_S


async def apply(action: Action, tools: Tools) -> None:
    target = settings.text(action, "file")
    _check_absent(target)
    vdi, record = await transfer.need(tools.xenapi, "VDI", settings.text(action, "vdi"))
    size_bytes = int(str(record["virtual_size"]))
    meter = transfer.Meter(action, tools, size_bytes)
    address = await transfer.host_address(tools.xenapi, str(record["SR"]))

    def show(done_bytes: int, _: int) -> None:
        meter.show(done_bytes)

    part = part_file(target)
    await tools.xenapi.export_vdi(vdi, part, size_bytes=size_bytes, host_address=address, progress=show)
    _check_absent(target)
    _rename(part, Path(target))


async def verify(action: Action, tools: Tools) -> str:
    target = settings.text(action, "file")
    _, record = await transfer.need(tools.xenapi, "VDI", settings.text(action, "vdi"))
    seen, wanted = _size_bytes(Path(target)), int(str(record["virtual_size"]))
    return "" if seen == wanted else f"{target} has {seen} bytes, and the disk {wanted}"


def part_file(target: str) -> Path:
    return Path(f"{target}.part")


def _check_absent(target: str) -> None:
    if os.path.lexists(target):
        raise ShoalError(f"{target} is there already", resolution="Name another file, or remove that one.")


def _rename(part: Path, target: Path) -> None:
    """Its bytes are on this machine's disk already; then its name is, too."""
    try:
        part.rename(target)
        folder = os.open(target.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ShoalError(f"cannot rename {part} to {target}: {error.strerror}") from error


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
