"""The daemons that cephadm keeps on this machine, by systemd units: which there are, and how one is started or stopped.

By systemd and not by Docker: cephadm's containers vanish when they stop, and their units start them again.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

from volumes.errors import ServiceError, in_use

UNITS = Path("/etc/systemd/system")
UNIT = re.compile(r"(ceph-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@([a-z][a-z-]*)\.([A-Za-z0-9_.-]+)\.service")
VERBS = ("start", "stop", "restart")
CHANGE_TIMEOUT_S = 90.0
LOOK_TIMEOUT_S = 5.0

_one_at_a_time = threading.Lock()


def find() -> dict[str, str]:
    """The name of each daemon's container → its unit, whether it runs or not."""
    found = {}
    for link in sorted(UNITS.glob("ceph-*.target.wants/ceph-*.service")):
        match = UNIT.fullmatch(link.name)
        if match:
            cluster, kind, daemon = match.groups()
            found[f"{cluster}-{kind}-{daemon.replace('.', '-')}"] = link.name
    return found


def change(unit: str, verb: str) -> None:
    """Start, stop or restart a unit of `find`; returns when systemd has done it."""
    assert verb in VERBS and UNIT.fullmatch(unit), "the caller has looked"
    if not _one_at_a_time.acquire(timeout=LOOK_TIMEOUT_S):
        raise in_use("another container is being started or stopped")
    try:
        if verb != "stop":  # one that has failed too often is not started otherwise
            _systemctl("reset-failed", unit, timeout_s=LOOK_TIMEOUT_S, check=False)
        _systemctl(verb, unit, timeout_s=CHANGE_TIMEOUT_S)
    finally:
        _one_at_a_time.release()


def exit_codes(units: Iterable[str]) -> dict[str, str]:
    """With what code the last run of each unit ended."""
    named = sorted(units)
    if not named:
        return {}
    text = _systemctl("show", "--property=Id,ExecMainStatus", *named, timeout_s=LOOK_TIMEOUT_S)
    found = {}
    for block in text.strip().split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found[said.get("Id", "")] = said.get("ExecMainStatus", "")
    return found


def _systemctl(*words: str, timeout_s: float, check: bool = True) -> str:
    what = f"systemctl {words[0]} {words[-1]}"
    try:
        argv = ["systemctl", "--no-ask-password", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise ServiceError(504, "slow", f"{what} is not done within {timeout_s:.0f} s, and goes on") from None
    if check and done.returncode:
        raise ServiceError(502, "systemd_failed", f"{what}: {done.stderr.strip()[-300:] or done.returncode}")
    return done.stdout
