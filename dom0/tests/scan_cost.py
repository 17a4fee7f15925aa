"""Prints as JSON what a scan of so many disks costs: `python -m dom0.tests.scan_cost 1000 10000`.

The pool and the toolstack are on paper, and the time that they take themselves is in the seconds; `cpu_s` and
`memory_mib` are the driver's alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dom0.tests.host import Host
from dom0.tests.paper_pool import GIB, PaperPool
from tests.ceph.certificates import Authority
from tests.ceph.service import write_client_files

CHANGED = 10


def measure(folder: Path, disks: int) -> dict[str, object]:
    authority = Authority.make()
    write_client_files(authority, folder / "client")
    pool = PaperPool(folder, authority, disks)
    host = Host(folder / "host", folder / "client", [pool.endpoint])
    pool.owner = host.sr
    try:
        pool.record_all(host)
        run(host)
        unchanged = run(host)
        for volume in pool.listing["volumes"][:CHANGED]:
            volume["size_bytes"] = 2 * GIB
        changed = run(host)
        memory_mib = round(host.peak_mib("sr_scan"), 1)
        return {"disks": disks, "unchanged": unchanged, f"{CHANGED} changed": changed, "memory_mib": memory_mib}
    finally:
        host.stop()
        pool.stop()


def run(host: Host) -> dict[str, float]:
    started = time.monotonic()
    process = subprocess.Popen(host.argv(host.request("sr_scan")), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    seconds = time.monotonic() - started
    return {"s": round(seconds, 3), "cpu_s": round(usage.ru_utime + usage.ru_stime, 3)}


if __name__ == "__main__":
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(measure(Path(scratch), count)))
