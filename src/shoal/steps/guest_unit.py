"""Runs a long script on a storage VM as a systemd unit of its own, which outlives a killed `shoal` and is found again.

So a script that must not run twice at once never does: whoever comes second waits for the first one's end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shoal.clients.ssh import Ssh
from shoal.kit.errors import ShoalError
from shoal.kit.waiting import wait_until

FOLDER = "/etc/shoal"
COMMAND_TIMEOUT_S = 30.0
PROPERTIES = ("ActiveState", "Job", "Result", "ExecMainStatus")
# One round trip: the work of looking is taken from the work that is looked at. $1 the unit, then what systemd is asked.
LOOK = """unit=$1; shift; systemctl show "$@" "$unit" && printf '\\001' || exit
journalctl --unit="$unit" --lines=15 --output=cat --no-pager --quiet; true"""


@dataclass(frozen=True, slots=True)
class Script:
    """A shell script and its words. `unit` is its name, and stands for what it works on."""

    unit: str
    text: str
    words: Sequence[str]


async def run(guest: Ssh, script: Script, *, timeout_s: float, progress: Callable[[str], None] | None = None) -> None:
    """Start the unit unless it runs already, and wait for its end. Raises when it fails, with its last words."""
    if not await is_running(guest, script.unit):
        await _start(guest, script)
    await wait(guest, script.unit, timeout_s=timeout_s, progress=progress)


async def _start(guest: Ssh, script: Script) -> None:
    unit = script.unit
    # In a file, since systemd would expand each $ of a command line itself.
    await guest.write_file(f"{FOLDER}/{unit}.sh", script.text.encode(), mode=0o700)
    await guest.run(["systemctl", "reset-failed", unit], timeout_s=COMMAND_TIMEOUT_S, check=False)
    await guest.run(["systemctl", "stop", unit], timeout_s=COMMAND_TIMEOUT_S, check=False)
    # RemainAfterExit: its result can still be read after its end.
    options = ["--service-type=oneshot", "--property=RemainAfterExit=yes", "--no-block", "--quiet"]
    environment = ["--setenv=HOME=/root", "--setenv=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    started = ["systemd-run", f"--unit={unit}", *options, *environment, "--", "/bin/sh", f"{FOLDER}/{unit}.sh"]
    started += script.words
    await guest.run(started, timeout_s=COMMAND_TIMEOUT_S)


async def is_running(guest: Ssh, unit: str) -> bool:
    return _goes_on((await _look(guest, unit))[0])


def _goes_on(state: dict[str, str]) -> bool:
    """`systemd-run --no-block` only asks for a start: until systemd comes to it, the unit is inactive, with a job."""
    return state["ActiveState"] == "activating" or bool(state["Job"])


async def wait(guest: Ssh, unit: str, *, timeout_s: float, progress: Callable[[str], None] | None = None) -> None:
    async def look() -> str:
        state, log = await _look(guest, unit)
        last = log.splitlines()[-1] if log else ""
        if _goes_on(state):
            if progress is not None and last:
                progress(last[:100])
            return last or "it runs"
        if state["ActiveState"] == "active" and state["Result"] == "success":
            return ""
        raise ShoalError(
            f"{unit} failed on the {guest.name} (exit code {state['ExecMainStatus']})",
            details=log,
            resolution=f"`journalctl -u {unit}` there has all that it said. Run apply again when the cause is gone.",
        )

    await wait_until(look, deadline_s=timeout_s, what=f"{unit} on the {guest.name}", every_s=1)


async def _look(guest: Ssh, unit: str) -> tuple[dict[str, str], str]:
    """What systemd says of it, and its last lines."""
    argv = ["sh", "-c", LOOK, "sh", f"{unit}.service", *(f"--property={name}" for name in PROPERTIES)]
    shown, _, log = (await guest.run(argv, timeout_s=COMMAND_TIMEOUT_S)).stdout.partition("\x01")
    said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {name: said.get(name, "") for name in PROPERTIES}, log.strip()
