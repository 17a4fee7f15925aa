"""A host that takes the time of its driver's calls, and figures of many times. Knows nothing of what is called."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

from dom0.tests.ceph_kernel import Agent, CephKernel
from dom0.tests.host import PYTHON, Host

LAUNCH = Path(__file__).with_name("driver_launch.py")
START_EVERY = 10  # calls for each look at the interpreter's bare start: it varies with what else the machine does
# The peak of this very process: what a parent is told of a child also counts the parent's own size at the fork.
WITH_PEAK = """
import os, sys
out = sys.argv.pop(1)
launch = sys.argv[0] = sys.argv.pop(1)
__file__ = launch
try:
    exec(compile(open(launch).read(), launch, "exec"))
finally:
    with open("/proc/self/status") as status, open(out, "w") as file:
        file.write([line for line in status if line.startswith("VmHWM")][0].split()[1])
"""


class Spent(NamedTuple):
    """Seconds of a process: by the clock, and of a processor, which a busy machine changes little."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Begins when it is made. The processor time is that of the children that have ended since."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), children_cpu_s()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._wall_s, children_cpu_s() - self._cpu_s)


def total(parts: list[Spent]) -> Spent:
    return Spent(sum(part.wall_s for part in parts), sum(part.cpu_s for part in parts))


class TimedKernel(CephKernel):
    """`maps_s`: what each map took by itself, opened and locked by librbd, which stands in for the kernel's client."""

    def __init__(self, folder: Path, agent: Agent) -> None:
        self.maps_s: list[float] = []
        super().__init__(folder, agent)

    def _add(self, line: str) -> int:
        began_s = time.perf_counter()
        code = super()._add(line)
        self.maps_s.append(time.perf_counter() - began_s)
        return code


class TimedHost(Host):
    """`last` is what the last call took, interpreter and all; `starts` what the interpreter alone took now and then."""

    last = Spent(0.0, 0.0)

    def __init__(self, folder: Path, client_files: Path, volumes: list[str], **keys: Any) -> None:
        super().__init__(folder, client_files, volumes, **keys)
        self.starts: list[Spent] = []
        self._calls = 0

    def argv(self, request: str | bytes) -> list[str | bytes]:
        return [PYTHON, "-IS", str(LAUNCH), str(self.folder), request]

    def run(self, request: str | bytes) -> subprocess.CompletedProcess[bytes]:
        self._calls += 1
        if self._calls % START_EVERY == 1:
            watch = Stopwatch()
            subprocess.run([PYTHON, "-IS", "-c", "pass"], capture_output=True, timeout=60, check=True)
            self.starts.append(watch.spent())
        watch = Stopwatch()
        done = super().run(request)
        self.last = watch.spent()
        return done

    def start_s(self) -> Spent:
        """The median of the interpreter's start."""
        return Spent(*(statistics.median(column) for column in zip(*self.starts, strict=True)))

    def peak_kib(self, request: str) -> int:
        """Memory of one call, at its highest."""
        out = self.folder / "peak"
        argv = [PYTHON, "-IS", "-c", WITH_PEAK, str(out), str(LAUNCH), str(self.folder), request]
        done = subprocess.run(argv, capture_output=True, timeout=120, check=True)
        assert b"<fault>" not in done.stdout, done.stdout
        return int(out.read_text())


def children_cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def figures(seconds: list[float], *, less_s: float = 0.0) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, `less_s` taken from each."""
    ordered = sorted(max(0.0, value - less_s) * 1000 for value in seconds)
    rank = min(len(ordered) - 1, round(0.95 * len(ordered)))
    return {"median": round(statistics.median(ordered), 1), "p95": round(ordered[rank], 1), "calls": len(ordered)}
