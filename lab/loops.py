"""Loop devices: a file, or a range of it, as a block device.

A range gets the same number each time if that is free: a guest sees its disk under the kernel's name, and an OSD whose
disk has another name after a restart does not start. Found again by what they show, not by number.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lab.command import CommandError, run

TIMEOUT_S = 20
CONTROL = "/dev/loop-control"
LOOP_CTL_REMOVE = 0x4C81
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
STATUS_BYTES, SIZE_LIMIT_AT = 232, 32  # of struct loop_info64
SECTOR_BYTES = 512
FIRST_NUMBER, NUMBERS = 1000, 1_000_000  # far from what others use


@dataclass(frozen=True, slots=True)
class Range:
    """Part of a file (size 0: to its end)."""

    path: str
    offset_bytes: int = 0
    size_bytes: int = 0


def attach(what: Range, *, writable: bool = True) -> Path:
    """The loop device over a range of a file: the one there is, else a new one."""
    present = _all()
    for device, shown in present:
        if shown == what:
            return device
    number = _number(what)
    while Path(f"/dev/loop{number}") in dict(present):
        number += 1
    device = Path(f"/dev/loop{number}")
    options = ["--offset", str(what.offset_bytes), "--sizelimit", str(what.size_bytes)]
    options += [] if writable else ["--read-only"]
    run(["losetup", *options, device, what.path], timeout_s=TIMEOUT_S)
    return device


def find(what: Range) -> Path | None:
    """The loop device over a range of a file, if there is one."""
    return next((device for device, shown in _all() if shown == what), None)


def detach(what: Range) -> None:
    """Let go of a range's loop device and wait until the kernel has: a file system on it may still be closing."""
    deadline = time.monotonic() + TIMEOUT_S
    names = (what, replace(what, path=f"{what.path} (deleted)"))
    while found := [device for device, shown in _all() if shown in names]:
        if time.monotonic() > deadline:
            raise CommandError(f"{found[0]} over {what.path} is still in use after {TIMEOUT_S} s")
        for device in found:
            run(["losetup", "--detach", device], timeout_s=TIMEOUT_S, check=False)  # judged by the next look
            _remove(device)
        time.sleep(0.02)


def detach_below(folder: Path) -> None:
    """Let go of all loop devices over files in a folder."""
    for _, shown in _all():
        if shown.path.startswith(f"{folder}/"):
            detach(shown)


def fail(what: Range) -> None:
    """Every read and write of what lies on the device fails from now on, also by who has it open, as on a dead disk."""
    _limit(what, SECTOR_BYTES)


def mend(what: Range) -> None:
    """The disk is as before; its data was not touched. Idempotent."""
    _limit(what, what.size_bytes)


def _limit(what: Range, size_bytes: int) -> None:
    """Where the device ends. The kernel refuses for as long as pages wait to be written."""
    device = next(
        (name for name, one in _all() if (one.path, one.offset_bytes) == (what.path, what.offset_bytes)), None
    )
    if device is None:
        raise CommandError(f"there is no loop device over {what.path} at {what.offset_bytes}")
    deadline = time.monotonic() + TIMEOUT_S
    descriptor = os.open(device, os.O_RDONLY)
    try:
        status = bytearray(STATUS_BYTES)
        fcntl.ioctl(descriptor, LOOP_GET_STATUS64, status)
        struct.pack_into("<Q", status, SIZE_LIMIT_AT, size_bytes)
        while True:
            try:
                fcntl.ioctl(descriptor, LOOP_SET_STATUS64, bytes(status))
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
    finally:
        os.close(descriptor)


def _number(what: Range) -> int:
    digest = hashlib.sha256(f"{what.path}:{what.offset_bytes}".encode()).digest()
    return FIRST_NUMBER + int.from_bytes(digest[:4], "big") % NUMBERS


def _remove(device: Path) -> None:
    """Let the device itself go, too; one that is in use stays."""
    control = os.open(CONTROL, os.O_RDWR)
    try:
        with contextlib.suppress(OSError):
            fcntl.ioctl(control, LOOP_CTL_REMOVE, int(device.name.removeprefix("loop")))
    finally:
        os.close(control)


def _all() -> list[tuple[Path, Range]]:
    columns = "NAME,OFFSET,SIZELIMIT,BACK-FILE"
    said = run(["losetup", "--json", "--list", "--output", columns], timeout_s=TIMEOUT_S).stdout
    found = json.loads(said)["loopdevices"] if said.strip() else []
    return [(Path(loop["name"]), Range(loop["back-file"], loop["offset"], loop["sizelimit"])) for loop in found]
