"""`make demo`: a lab of three hosts, one `shoal apply`, a VM that writes, its host crashed, and nothing lost.

Leaves the lab up and says how to look around. Exits 0 only when every acknowledged record was found again.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from lab import witness_vm
from lab.namespace import enter
from lab.topology import Lab, locate

ROOT = Path(__file__).resolve().parent.parent
SPEC = ROOT / "examples" / "lab.yaml"
BIN = Path(sys.executable).parent
SR = "shoal"
HOST = "xen2"  # the one that dies
RESTART_MARK = "shoal:restart"
WANTED_RECORDS = 500
HEALTHY_WITHIN_S = 240
ELSEWHERE_WITHIN_S = 180
REST_MS = 100  # between two records, once it was started elsewhere: the pool has other work to do then
STATUS_TIMEOUT_S = 120
LOOK_EVERY_S = 3  # a look takes emulated hosts some seconds of their processors, which they need to become healthy

terminal = Terminal(highlight=False)


@dataclass
class Stages:
    """What was done and how long it took."""

    done: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def stage(self, what: str) -> Iterator[None]:
        terminal.print(f"[bold]▶ {what}[/bold]")
        began = time.monotonic()
        yield
        self.done.append((what, time.monotonic() - began))

    def show(self) -> None:
        table = Table("stage", "seconds")
        for what, seconds in self.done:
            table.add_row(what, f"{seconds:.1f}")
        table.add_row("[bold]all[/bold]", f"[bold]{sum(seconds for _, seconds in self.done):.1f}[/bold]")
        terminal.print(table)


def main() -> int:
    lab = locate()
    stages = Stages()
    with stages.stage("the lab: three hosts boot"):
        call([BIN / "shoal-lab", "up"])
    with stages.stage("shoal apply: one shared SR from their disks"):
        call([BIN / "shoal-lab", "exec", "--", BIN / "shoal", "apply", "--yes", "-f", SPEC])
    with stages.stage("the pool is healthy"):
        wait_until_healthy()
    enter(lab)
    lost = prove(lab, stages)
    with stages.stage(f"{HOST} comes back, and the pool mends itself"):
        call([BIN / "shoal-lab", "boot", HOST])
        wait_until_healthy()
    stages.show()
    if lost:
        terminal.print(f"[red]{lost}[/red]")
        return 1
    terminal.print(FAREWELL)
    return 0


def wait_until_healthy() -> None:
    """Until `shoal status` gives 0; what it then says, or said last, is shown."""
    argv: list[str | Path] = [BIN / "shoal-lab", "exec", "--", BIN / "shoal", "status", "-f", SPEC]
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    while True:
        done = subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, text=True, timeout=STATUS_TIMEOUT_S)
        if done.returncode == 0 or time.monotonic() > deadline:
            print(done.stdout, done.stderr, sep="", end="")
        if done.returncode == 0:
            return
        if time.monotonic() > deadline:
            terminal.print(f"[red]the pool did not become healthy within {HEALTHY_WITHIN_S} s[/red]")
            sys.exit(1)
        time.sleep(LOOK_EVERY_S)


def prove(lab: Lab, stages: Stages) -> str:
    """The witness's story; "" when every acknowledged record is there, else what is not."""
    session = witness_vm.Session(lab)
    vm = witness_vm.create(session, SR)
    if RESTART_MARK not in session.call("VM.get_other_config", vm):
        session.call("VM.add_to_other_config", vm, RESTART_MARK, "true")
    with stages.stage(f"a VM on {HOST} writes {WANTED_RECORDS} records"):
        witness_vm.stop(lab, session, vm)  # an earlier demo leaves it running
        witness_vm.rest(session, vm, 0)
        witness_vm.start(session, vm, HOST)
        found = wait_for_highest(lab, HOST)
        before = wait_for_acks(lab, HOST, found + WANTED_RECORDS)
        terminal.print(f"  {before.acked - found} records acknowledged")
        witness_vm.rest(session, vm, REST_MS)  # from its next start on
    with stages.stage(f"{HOST} loses power"):
        before = witness_vm.read_console(lab, HOST)
        call([BIN / "shoal-lab", "crash", HOST])
    with stages.stage("the keepers fence it and start the VM on another host"):
        began = time.monotonic()
        place = wait_for_another_host(session, vm)
        terminal.print(f"  it runs on {place} after {time.monotonic() - began:.1f} s, and nobody has laid a hand on it")
    with stages.stage("what is on its disk"):
        found = wait_for_highest(lab, place)
        terminal.print(f"  up to {before.acked} acknowledged on {HOST}; up to {found} found valid on {place}")
        if found < before.acked:
            return f"records lost: {before.acked} were acknowledged, {found} are there"
        further = wait_for_acks(lab, place, found + 20)
        terminal.print(f"  and it goes on writing: {further.acked} acknowledged")
    return ""


def wait_for_another_host(session: witness_vm.Session, vm: str) -> str:
    """The host where the pool says that it runs by now."""

    def look() -> str:
        resident = session.call("VM.get_resident_on", vm)
        is_on = session.call("VM.get_power_state", vm) == "Running" and resident != "OpaqueRef:NULL"
        return str(session.call("host.get_name_label", resident)) if is_on else ""

    return witness_vm.wait_for(
        look, lambda host: host not in ("", HOST), timeout_s=ELSEWHERE_WITHIN_S, what="the VM to run on another host"
    )


def wait_for_highest(lab: Lab, host: str) -> int:
    """The highest valid record that the witness found on its disk when it started."""
    console = witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host),
        lambda console: console.highest is not None,
        timeout_s=180,
        what=f"the witness on {host} to say what it found",
    )
    return console.highest or 0


def wait_for_acks(lab: Lab, host: str, count: int) -> witness_vm.Console:
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host),
        lambda console: console.acked >= count,
        timeout_s=180,
        what=f"the witness on {host} to acknowledge {count} records",
    )


def call(argv: list[str | Path]) -> None:
    """Run with the terminal as it is; end the demo when it fails, with what failed."""
    code = subprocess.run([str(word) for word in argv], cwd=ROOT, check=False).returncode
    if code:
        terminal.print(f"[red]failed with exit code {code}:[/red] {' '.join(str(word) for word in argv)}")
        sys.exit(code)


FAREWELL = """
The lab stays up. Look around:
  .venv/bin/shoal-lab exec -- .venv/bin/shoal status -f examples/lab.yaml
  .venv/bin/shoal-lab run xen1 -- xl info
  .venv/bin/shoal-lab run xen3 -- ls /sys/bus/rbd/devices
  .venv/bin/shoal-lab status
Break something:              .venv/bin/shoal-lab crash xen3
Take it all down:             .venv/bin/shoal-lab down"""


if __name__ == "__main__":
    sys.exit(main())
