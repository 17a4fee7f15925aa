"""A dom0: one round trip with dom0/probe.py, and its answer read. Free space is computed here, and nowhere else."""

from __future__ import annotations

import json
import time

from shoal.clients.ssh import Ssh
from shoal.facts import Disk, Dom0, Kit, LvmConf, Maps, Partition, Range
from shoal.kit import shipped
from shoal.kit.certificate_name import lasting_name
from shoal.observe.clock import skew_s
from shoal.observe.reading import (
    Answer,
    NotUnderstood,
    flag,
    number,
    numbers,
    parse,
    rows,
    seconds,
    table,
    text,
    text_table,
    texts,
)
from shoal.spec.names import LVM_FOLDERS, MAPS_FILE, MAPS_KEY_FILE, PASSTHROUGH_FOLDER

TIMEOUT_S = 40.0
ALIGNMENT_BYTES = 1 << 20
TOOLS = ("sgdisk", "partx", "blockdev", "blkid", "modprobe", "python3", "systemctl")
REQUEST = {
    "kit": [shipped.DOM0_CODE, *shipped.DOM0_OUTSIDE],
    "keeper": shipped.DOM0_KEEPER_UNIT,
    "passthrough": PASSTHROUGH_FOLDER,
    "tools": TOOLS,
    "lvm": LVM_FOLDERS,
    "maps": {
        "settings": MAPS_FILE,
        "key": MAPS_KEY_FILE,
        "units": [unit.rpartition("/")[2] for unit in shipped.DOM0_UNITS],
    },
}


async def look_at_dom0(ssh: Ssh) -> Dom0:
    argv = ["python3", "-I", "-S", "-B", "-", json.dumps(REQUEST)]
    sent = time.time()
    done = await ssh.run(argv, timeout_s=TIMEOUT_S, input=shipped.probe("probe"))
    return read_dom0(parse(done.stdout, ssh.name), sent, time.time())


def read_dom0(answer: Answer, sent: float, received: float) -> Dom0:
    errors = text_table(answer, "errors")
    if errors:
        raise NotUnderstood(
            "dom0 could not be read", details="\n".join(f"{part}: {why}" for part, why in errors.items())
        )
    kit = table(answer, "kit")
    return Dom0(
        kernel=text(answer, "kernel"),
        kit=Kit(
            digest=text(kit, "digest"),
            has_client_certificate=flag(kit, "has_client_certificate"),
            client=lasting_name(text(kit, "client_certificate")),
            certificate_authority=text(kit, "certificate_authority"),
            volume_service=text(kit, "volume_service"),
            keeper_runs=flag(kit, "keeper_runs"),
        ),
        sm_plugins=texts(answer, "sm_plugins"),
        clock_skew_s=round(skew_s(sent, received, seconds(answer, "clock") or [sent]), 3),
        disks=tuple(_disk(disk) for disk in rows(answer, "disks")),
        passthrough_links=text_table(answer, "passthrough_links"),
        missing_tools=texts(answer, "missing_tools"),
        has_rbd=flag(answer, "has_rbd"),
        lvm=tuple(
            LvmConf(text(conf, "folder"), text(conf, "main"), text(conf, "local")) for conf in rows(answer, "lvm")
        ),
        maps=_maps(table(answer, "maps")),
    )


def _maps(maps: Answer) -> Maps:
    return Maps(
        fsid=text(maps, "fsid"),
        user=text(maps, "user"),
        monitors=texts(maps, "monitors"),
        images=texts(maps, "images"),
        has_key=flag(maps, "has_key"),
        is_enabled=flag(maps, "is_enabled"),
        mapped=text_table(maps, "mapped"),
    )


def free_ranges(usable: tuple[int, int], taken: list[tuple[int, int]]) -> tuple[Range, ...]:
    """What of `usable` is not `taken` (all as start and end), aligned, largest first."""
    free, position = [], usable[0]
    for start, end in [*sorted(taken), (usable[1], usable[1])]:
        begin = -(-position // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        size = (min(start, usable[1]) - begin) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
        if size > 0:
            free.append(Range(begin, size))
        position = max(position, end)
    return tuple(sorted(free, key=lambda one: (-one.size_bytes, one.start_bytes)))


def _disk(disk: Answer) -> Disk:
    free: tuple[Range, ...] = ()
    if disk.get("usable") is not None:
        free = free_ranges(_pair(disk, "usable"), [_pair({"taken": pair}, "taken") for pair in _pairs(disk)])
    return Disk(
        device=text(disk, "device"),
        links=texts(disk, "links"),
        size_bytes=number(disk, "size_bytes"),
        sector_bytes=number(disk, "sector_bytes"),
        table=_optional(disk, "table"),
        partitions=tuple(_partition(partition) for partition in rows(disk, "partitions")),
        free=free,
        contents=_optional(disk, "contents"),
        in_use=_optional(disk, "in_use"),
    )


def _partition(partition: Answer) -> Partition:
    return Partition(
        number=number(partition, "number"),
        device=text(partition, "device"),
        range=Range(number(partition, "start_bytes"), number(partition, "size_bytes")),
        name=text(partition, "name"),
        uuid=text(partition, "uuid").lower(),
        contents=_optional(partition, "contents"),
        in_use=_optional(partition, "in_use"),
    )


def _optional(answer: Answer, key: str) -> str | None:
    return None if answer.get(key) is None else text(answer, key)


def _pairs(disk: Answer) -> list[object]:
    taken = disk.get("taken")
    if not isinstance(taken, list):
        raise NotUnderstood("'taken' should be a list of pairs")
    return taken


def _pair(answer: Answer, key: str) -> tuple[int, int]:
    pair = numbers(answer, key)
    if len(pair) != 2:
        raise NotUnderstood(f"{key!r} should be a start and an end")
    return pair[0], pair[1]
