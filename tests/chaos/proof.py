"""The witnesses' disks, read by Ceph's own library past all of Shoal's: every acknowledged record is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.chaos import records
from tests.chaos.ground import Ground
from tests.chaos.judge import Heard

POOL = "rbd"  # of the SR in examples/lab.yaml
TIMEOUT_S = 120.0


def acknowledged(heard: Iterable[Heard]) -> dict[str, int]:
    """The highest record of each VM that was acknowledged by now."""
    highest: dict[str, int] = {}
    for one in heard:
        if one.word == "ack":
            highest[one.vm] = max(highest.get(one.vm, 0), one.number)
    return highest


def read(ground: Ground, vms: Mapping[str, str], acked: Mapping[str, int]) -> list[str]:
    """What is wrong with their disks."""
    session, source = ground.session(), Path(records.__file__).read_bytes()
    crimes = []
    for vm, ref in vms.items():
        (vbd,) = session.call("VM.get_VBDs", ref)
        location = session.call("VDI.get_location", session.call("VBD.get_VDI", vbd))
        said = ground.ceph_python(source, POOL, f"vdi-{location}", timeout_s=TIMEOUT_S)
        crimes += compare(vm, json.loads(said), acked.get(vm, 0))
    return crimes


def compare(vm: str, seen: Mapping[str, Any], acked: int) -> list[str]:
    """A run writes without a gap: where a stretch of its records does not begin with its first one, another wrote."""
    crimes = []
    if seen["highest"] < acked:
        crimes.append(f"{vm}: {acked} were acknowledged, and on its disk all are valid up to {seen['highest']} only")
    if seen["last"] > seen["highest"]:
        crimes.append(f"{vm}: on its disk record {seen['highest'] + 1} is damaged, of {seen['last']}")
    for began, first, last in seen["runs"]:
        if first != began:
            crimes.append(
                f"{vm}: the start that began with record {began} wrote {first} to {last}, but not {first - 1}"
            )
    return crimes
