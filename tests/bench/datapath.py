"""`python -m tests.bench.datapath`: what a disk does in a dom0 of a lab that is up and applied. Prints JSON.

fio on the device that the driver maps, and on the same device behind blkback and blkfront (dom0 attaches it to itself:
a guest's path without a guest that has fio); for each type of shared SR that the pool has. All under the lab's
emulation: only the ratios say something.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import dumps, loads

from lab import witness_vm
from lab.dom0 import Dom0
from lab.topology import locate
from tests.bench import datapath_fio as fio

TYPES = ("rbd", "lvm")
DISK_BYTES = 1 << 30
SM_DIR = "/opt/xensource/sm"
FRONTEND = "xvdy"
SEGMENTS = 32  # of 4 KiB, for each of blkfront's requests: what it does unless told otherwise
SEGMENTS_MAX = 256  # the most that blkback takes
MAPS = 10
ROUNDS = 3  # of each device, by turns: what else the machine does meanwhile is in both
AIMS = {"frontend_to_raw": 0.9, "attach_activate_to_bare_write": 1.3}
MAP_TIMES = Path(__file__).with_name("datapath_maps.py")


def main() -> int:
    print(json.dumps(asyncio.run(measure()), indent=2))
    return 0


async def measure() -> dict[str, Any]:
    lab = locate()
    session = witness_vm.Session(lab, enter_namespace=True)
    host = lab.hosts[0]
    found: dict[str, Any] = {"what": f"fio in dom0 of {host.name}, emulated; IOPS and MiB/s", "aims": AIMS}
    async with Dom0(host, lab) as dom0:
        await fio.install(dom0)
        for wanted in TYPES:
            sr = shared_sr(session, wanted)
            found[wanted] = await measure_sr(dom0, session, sr) if sr else {"left_out": f"no SR of type {wanted} here"}
    if "raw" in found["rbd"] and "raw" in found["lvm"]:
        found["rbd_to_lvm"] = fio.ratios(found["rbd"]["frontend"], found["lvm"]["frontend"])
    return found


async def measure_sr(dom0: Dom0, session: witness_vm.Session, sr: str) -> dict[str, Any]:
    async with disk(dom0, session, sr) as (calls, path):
        await fio.fill(dom0, path)
        raw, front, large = [], [], []
        for number in range(1, ROUNDS + 1):
            say(f"{path}: round {number} of {ROUNDS}")
            raw.append(await fio.run(dom0, path))
            async with frontend(dom0, path, SEGMENTS) as device:
                front.append(await fio.run(dom0, device))
            async with frontend(dom0, path, SEGMENTS_MAX) as device:
                large.append(await fio.run(dom0, device, fio.LARGE))
        row: dict[str, Any] = {"raw": fio.medians(raw)}
        for name, rounds in (("frontend", front), (f"frontend_of_{SEGMENTS_MAX}_segments", large)):
            ratios = [fio.ratios(*pair) for pair in zip(rounds, raw, strict=True)]
            row |= {name: fio.medians(rounds), f"{name}_to_raw": fio.medians(ratios), f"{name}_to_raw_rounds": ratios}
        if sr_type(session, sr) == "rbd":
            say("maps")
            await calls.call("vdi_deactivate")
            row["maps"] = await measure_maps(calls)
    return row


async def measure_maps(calls: Calls) -> dict[str, Any]:
    """Milliseconds of vdi_attach and vdi_activate together beside the write to sysfs that maps the same image."""
    config, session = calls.device_config, calls.session
    key = session.call("secret.get_value", session.call("secret.get_by_uuid", config["password_secret"]))
    namespace = f",_pool_ns={config['namespace']}" if config.get("namespace") else ""
    options = f"name={config['user']},secret={key},noshare,mount_timeout=8,exclusive{namespace}"
    arguments = {"vdi_attach": ["true"], "vdi_activate": ["true"], "vdi_deactivate": [], "vdi_detach": []}
    given = {
        "driver": calls.path,
        "requests": {command: calls.request(command, *words) for command, words in arguments.items()},
        "line": f"{config['monitors']} {options} {config['pool']} vdi-{calls.vdi['uuid']} -",
        "count": MAPS,
    }
    program = MAP_TIMES.read_text()
    said = json.loads(await must(calls.dom0, "python3", "-c", program, stdin=json.dumps(given), timeout_s=600))
    medians = {name: statistics.median(values) * 1000 for name, values in said.items()}
    beyond = medians["attach_activate"] - 2 * medians["start"]
    return {
        **{f"{name}_ms": round(value) for name, value in medians.items()},
        "attach_activate_beyond_two_starts_ms": round(beyond),
        "attach_activate_to_bare_write": round(beyond / medians["bare_write"], 2),
    }


def shared_sr(session: witness_vm.Session, wanted: str) -> str | None:
    records = session.call("SR.get_all_records").items()
    return next((str(ref) for ref, record in records if record["type"] == wanted and record["shared"]), None)


def sr_type(session: witness_vm.Session, sr: str) -> str:
    return str(session.call("SR.get_type", sr))


class Calls:
    """One VDI's calls to one driver, past the toolstack, in one dom0."""

    def __init__(self, dom0: Dom0, session: witness_vm.Session, path: str, vdi: str) -> None:
        self.dom0 = dom0
        self.session = session
        self.path = path
        self.vdi = session.call("VDI.get_record", vdi) | {"ref": vdi}
        pbd = session.call("SR.get_PBDs", self.vdi["SR"])[0]
        self.device_config = session.call("PBD.get_device_config", pbd)

    def request(self, command: str, *arguments: str) -> str:
        request = {
            "command": command,
            "args": list(arguments),
            "host_ref": "OpaqueRef:none",
            "session_ref": self.session._session,
            "sr_ref": self.vdi["SR"],
            "sr_uuid": self.session.call("SR.get_uuid", self.vdi["SR"]),
            "device_config": {**self.device_config, "SRmaster": "true"},
            "vdi_ref": self.vdi["ref"],
            "vdi_uuid": self.vdi["uuid"],
            "vdi_location": self.vdi["location"],
        }
        return dumps((request,), command)

    async def call(self, command: str, *arguments: str) -> Any:
        return loads(await must(self.dom0, self.path, self.request(command, *arguments), timeout_s=120))[0][0]


@asynccontextmanager
async def disk(dom0: Dom0, session: witness_vm.Session, sr: str) -> AsyncIterator[tuple[Calls, str]]:
    """A new disk, attached and activated in this dom0, and its device."""
    record: dict[str, object] = {
        "name_label": "bench",
        "name_description": "",
        "SR": sr,
        "virtual_size": str(DISK_BYTES),
    }
    record |= {"type": "user", "sharable": False, "read_only": False, "other_config": {}, "xenstore_data": {}}
    vdi = session.call("VDI.create", {**record, "sm_config": {}, "tags": []})
    try:
        found = await must(dom0, "find", "-L", SM_DIR, "-maxdepth", "1", "-iname", f"{sr_type(session, sr)}SR")
        calls = Calls(dom0, session, found.strip(), vdi)
        attached = await calls.call("vdi_attach", "true")
        await calls.call("vdi_activate", "true")
        try:
            yield calls, attached["params"]
        finally:
            await calls.call("vdi_deactivate")
            await calls.call("vdi_detach")
    finally:
        session.call("VDI.destroy", vdi)


@asynccontextmanager
async def frontend(dom0: Dom0, path: str, segments: int) -> AsyncIterator[str]:
    """The device through blkback and blkfront, both in this dom0, as a guest's disk goes."""
    await must(dom0, "modprobe", "--remove", "xen-blkfront")
    await must(dom0, "modprobe", "xen-blkfront", f"max_indirect_segments={segments}")
    disk = f"vdev={FRONTEND},access=w,script=block-lab,target={path}"  # as the toolstack gives a guest its disk
    await must(dom0, "xl", "block-attach", "0", disk)
    try:
        await must(dom0, "sh", "-c", f"for n in $(seq 100); do [ -b /dev/{FRONTEND} ] && exit; sleep 0.1; done; exit 1")
        yield f"/dev/{FRONTEND}"
    finally:
        await must(dom0, "xl", "block-detach", "0", FRONTEND)


async def must(dom0: Dom0, *argv: str, stdin: str | None = None, timeout_s: float = 60) -> str:
    answer = await dom0.run(argv, input=stdin, timeout_s=timeout_s)
    if answer.code:
        raise RuntimeError(f"{' '.join(argv)[:200]}: exit {answer.code}: {answer.stderr.strip()[-1000:]}")
    return answer.stdout


def say(what: str) -> None:
    print(f"[bench] {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
