"""sr_scan of many disks: the first time, with nothing changed, with one changed; and the memory that a scan takes."""

from __future__ import annotations

import json
import time
import uuid
import xmlrpc.client
from collections.abc import Callable
from typing import Any

from dom0.tests.ceph_kernel import CephKernel
from dom0.tests.toolstack import SESSION
from tests.bench.driver_clock import TimedHost, figures

POOL = "other"
SIZE_BYTES = 1 << 30
CHUNK = 1000
REPEATS = 5
AIMS_S = {1000: 0.5, 10_000: 3.0}


def measure_scans(host: TimedHost, sizes: tuple[int, ...], say: Callable[[str], None]) -> dict[str, Any]:
    """In a pool of their own. Figures in seconds; `memory_peak_mib` is the greatest of all scans."""
    host.toolstack.vdis.clear()
    host.sr = str(uuid.uuid4())
    host.device_config["pool"] = POOL
    host.call("sr_create", args=("0",))
    made: list[str] = []
    found: dict[str, Any] = {}
    peak_kib = 0
    for size in sizes:
        say(f"{size} disks")
        made += make_disks(host, size - len(made))
        found[str(size)] = measure_scan(host, made)
        peak_kib = max(peak_kib, host.peak_kib(scan_request(host)))
        found[str(size)]["aim_s"] = AIMS_S.get(size)
    return {**found, "memory_peak_mib": round(peak_kib / 1024, 1)}


def make_disks(host: TimedHost, count: int) -> list[str]:
    assert isinstance(host.kernel, CephKernel)
    made = [str(uuid.uuid4()) for _ in range(count)]
    for start in range(0, count, CHUNK):
        host.kernel.agent.ask("fill", pool=POOL, disks=made[start : start + CHUNK], size_bytes=SIZE_BYTES)
    return made


def measure_scan(host: TimedHost, disks: list[str]) -> dict[str, Any]:
    start_s = host.start_s().wall_s
    first_s, refused = scan(host)
    if refused:
        introduce_all(host, disks)
    unchanged = [scan(host) for _ in range(REPEATS)]
    changed: list[tuple[float, str]] = []
    for _ in range(REPEATS):
        host.toolstack.vdis[host.toolstack.ref(disks[0])]["virtual_size"] = "1048576"  # as if it had grown since
        changed.append(scan(host))
    return {
        "first_s": round(first_s - start_s, 2),
        "first_refused": refused or None,
        "unchanged_s": seconds([taken_s for taken_s, _ in unchanged], start_s),
        "one_changed_s": seconds([taken_s for taken_s, _ in changed], start_s),
        "refused": next((reason for _, reason in (*unchanged, *changed) if reason), None),  # then they are no figures
        "of_it_the_toolstack_stand_in_s": round(listing_of_the_toolstack(host), 2),
    }


def seconds(values: list[float], start_s: float) -> float:
    return round(figures(values, less_s=start_s)["median"] / 1000, 2)


def scan(host: TimedHost) -> tuple[float, str]:
    try:
        host.call("sr_scan")
    except xmlrpc.client.Fault as fault:
        return host.last.wall_s, fault.faultString
    return host.last.wall_s, ""


def introduce_all(host: TimedHost, disks: list[str]) -> None:
    """Records as a scan that had had the time would have left them."""
    known = {str(record["uuid"]) for record in host.toolstack.vdis.values()}
    for disk in set(disks) - known:
        none: dict[str, str] = {}
        values = ("", "", "OpaqueRef:sr", "user", False, False, none, disk, none, none, True, str(SIZE_BYTES), "0")
        rest = ("OpaqueRef:NULL", False, "19700101T00:00:00Z", "OpaqueRef:NULL", False)
        host.toolstack.call_VDI_db_introduce(disk, *values, *rest)


def listing_of_the_toolstack(host: TimedHost) -> float:
    """What the stand-in itself takes to find all records and to write them down."""
    began = time.perf_counter()
    json.dumps(host.toolstack.answer("VDI.get_all_records_where", [SESSION, 'field "SR" = "OpaqueRef:sr"']))
    return time.perf_counter() - began


def scan_request(host: TimedHost) -> str:
    request = {
        "host_ref": "OpaqueRef:host",
        "command": "sr_scan",
        "args": [],
        "device_config": host.device_config,
        "session_ref": SESSION,
        "sr_ref": "OpaqueRef:sr",
        "sr_uuid": host.sr,
    }
    return xmlrpc.client.dumps((request,), "sr_scan")
