"""A host that takes the time of its driver's calls, and figures of many times. Knows nothing of what is called."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class TimedHost(Host):
    """`last_s` is how long the last call took, `start_seconds` what the interpreter alone took now and then.

    `cpu_seconds` is the processor time of each call, interpreter and all: what a busy machine does not change.
    """

    last_s = 0.0

    def __init__(self, folder: Path, client_files: Path, volumes: list[str], **keys: Any) -> None:
        super().__init__(folder, client_files, volumes, **keys)
        self.start_seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self._calls = 0

    def argv(self, request: str | bytes) -> list[str | bytes]:
        return [PYTHON, "-IS", str(LAUNCH), str(self.folder), request]

    def run(self, request: str | bytes) -> subprocess.CompletedProcess[bytes]:
        self._calls += 1
        if self._calls % START_EVERY == 1:
            began = time.perf_counter()
            subprocess.run([PYTHON, "-IS", "-c", "pass"], capture_output=True, timeout=60, check=True)
            self.start_seconds.append(time.perf_counter() - began)
        began, cpu_s = time.perf_counter(), children_cpu_s()
        done = super().run(request)
        self.last_s = time.perf_counter() - began
        self.cpu_seconds.append(children_cpu_s() - cpu_s)
        return done

    def time(self, act: Callable[[], Any]) -> float:
        """Seconds of the driver's part of `act`, which makes one call."""
        act()
        return self.last_s

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


def interpreter_ms(seconds: list[float]) -> dict[str, float]:
    return figures(seconds)


def figures(seconds: list[float], *, less_s: float = 0.0) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, `less_s` taken from each."""
    ordered = sorted(max(0.0, value - less_s) * 1000 for value in seconds)
    rank = min(len(ordered) - 1, round(0.95 * len(ordered)))
    return {"median": round(statistics.median(ordered), 1), "p95": round(ordered[rank], 1), "calls": len(ordered)}
