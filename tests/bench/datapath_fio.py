"""fio in a lab's dom0: taken there from this machine, run on one device, and its figures.

Not a package of dom0: Debian's fio brings librados and librbd along, and that dom0 has neither is what the lab shows.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import statistics
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.dom0 import Dom0

FOLDER = "/var/tmp/shoal-bench"
RUNTIME_S = 5
REGION = "256m"
JOBS = {
    "randread_4k_depth_1": "rw=randread\nbs=4k\niodepth=1",
    "randwrite_4k_depth_1": "rw=randwrite\nbs=4k\niodepth=1",
    "randread_4k_depth_32": "rw=randread\nbs=4k\niodepth=32",
    "randwrite_4k_depth_32": "rw=randwrite\nbs=4k\niodepth=32",
    "read_1m": "rw=read\nbs=1m\niodepth=4",
    "write_1m": "rw=write\nbs=1m\niodepth=4",
    "read_128k": "rw=read\nbs=128k\niodepth=32",  # as blkfront cuts the 1 MiB, of which it has four times eight
    "write_128k": "rw=write\nbs=128k\niodepth=32",
}
LARGE = ("read_1m", "write_1m")


async def install(dom0: Dom0) -> None:
    """fio and its libraries with their own loader, in a folder of dom0."""
    there = await dom0.run(["test", "-x", f"{FOLDER}/fio"], timeout_s=30)
    if there.code == 0:
        return
    text = base64.b64encode(bundle()).decode()
    script = f"mkdir -p {FOLDER}.part && base64 -d | tar -xz -C {FOLDER}.part && mv -T {FOLDER}.part {FOLDER}"
    answer = await dom0.run(["sh", "-c", script], input=text, timeout_s=900)  # tens of MB, unpacked by an emulated CPU
    if answer.code:
        raise RuntimeError(f"fio could not be taken to dom0: {answer.stderr.strip()}")


def bundle() -> bytes:
    """A tar of this machine's fio (lab/packages.txt lists it), its libraries and their loader."""
    program = shutil.which("fio")
    if program is None:
        raise FileNotFoundError("fio is not installed; `lab/packages.txt` lists the packages that the lab needs")
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=30, check=True).stdout
    libraries = re.findall(r"(/\S+) \(0x", listing)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=4, dereference=True) as tar:
        for path in (program, *libraries):
            name = "loader" if Path(path).name.startswith("ld-linux") else Path(path).name
            tar.add(path, arcname=name)
    return packed.getvalue()


async def fill(dom0: Dom0, device: str) -> None:
    """Once before all else: a thin disk answers reads of what was never written without asking anybody."""
    await _fio(dom0, device, "[fill]\nrw=write\nbs=1m\niodepth=4\n")


async def run(dom0: Dom0, device: str, names: Sequence[str] = tuple(JOBS)) -> dict[str, float]:
    """IOPS of each 4k job, MiB/s of each sequential one."""
    sections = [f"[{name}]\n{JOBS[name]}\ntime_based\nruntime={RUNTIME_S}\nstonewall\n" for name in names]
    said = await _fio(dom0, device, "\n".join(sections))
    return {job["jobname"]: figure(job) for job in said["jobs"]}


async def _fio(dom0: Dom0, device: str, jobs: str) -> dict[str, Any]:
    common = f"[global]\nfilename={device}\nioengine=libaio\ndirect=1\nsize={REGION}\nrandrepeat=1\n"
    loader = [f"{FOLDER}/loader", "--library-path", FOLDER, f"{FOLDER}/fio"]
    argv = [*loader, "--output-format=json", "--aux-path=/tmp", "-"]
    answer = await dom0.run(argv, input=common + jobs, timeout_s=1800)
    if answer.code:
        raise RuntimeError(f"fio on {device}: exit {answer.code}: {answer.stderr.strip()[-1000:]}")
    said: dict[str, Any] = json.loads(answer.stdout[answer.stdout.index("{") :])
    return said


def figure(job: dict[str, Any]) -> float:
    side: dict[str, float] = job["write" if "write" in job["jobname"] else "read"]
    return round(side["bw_bytes"] / (1 << 20), 1) if "_4k_" not in job["jobname"] else round(side["iops"], 1)


def ratios(upper: dict[str, float], lower: dict[str, float]) -> dict[str, float]:
    return {name: round(upper[name] / lower[name], 2) for name in upper if lower.get(name)}


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of what every round has: a ratio to nothing is none."""
    names = [name for name in JOBS if all(name in each for each in rounds)]
    return {name: round(statistics.median(each[name] for each in rounds), 2) for name in names}
