"""Loop devices: a file, or a range of it, as a block device. Found again by what they show, not by number."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from lab.command import CommandError, run

TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Range:
    """Part of a file (size 0: to its end)."""

    path: str
    offset_bytes: int = 0
    size_bytes: int = 0


def attach(what: Range, *, writable: bool = True) -> Path:
    """The loop device over a range of a file: the one there is, else a new one."""
    for device, shown in _all():
        if shown == what:
            return device
    options = ["--offset", str(what.offset_bytes), "--sizelimit", str(what.size_bytes)]
    options += [] if writable else ["--read-only"]
    return Path(run(["losetup", "--find", "--show", *options, what.path], timeout_s=TIMEOUT_S).stdout.strip())


def detach(what: Range) -> None:
    """Let go of a range's loop device and wait until the kernel has: a file system on it may still be closing."""
    deadline = time.monotonic() + TIMEOUT_S
    names = (what, replace(what, path=f"{what.path} (deleted)"))
    while found := [device for device, shown in _all() if shown in names]:
        if time.monotonic() > deadline:
            raise CommandError(f"{found[0]} over {what.path} is still in use after {TIMEOUT_S} s")
        for device in found:
            run(["losetup", "--detach", device], timeout_s=TIMEOUT_S, check=False)  # judged by the next look
        time.sleep(0.02)


def detach_below(folder: Path) -> None:
    """Let go of all loop devices over files in a folder."""
    for _, shown in _all():
        if shown.path.startswith(f"{folder}/"):
            detach(shown)


def _all() -> list[tuple[Path, Range]]:
    columns = "NAME,OFFSET,SIZELIMIT,BACK-FILE"
    said = run(["losetup", "--json", "--list", "--output", columns], timeout_s=TIMEOUT_S).stdout
    found = json.loads(said)["loopdevices"] if said.strip() else []
    return [(Path(loop["name"]), Range(loop["back-file"], loop["offset"], loop["sizelimit"])) for loop in found]
