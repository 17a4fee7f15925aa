"""`python -m tests.chaos --seconds 3600 [--seed N]`: faults on a whole lab while a witness VM on every host writes.

Prints what it does as it goes (stderr) and the figures as JSON (stdout). Exit code 1 if anything was lost, or did not
come back by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

from lab import witness_vm
from lab.topology import Lab, locate
from tests.chaos.faults import FAULTS, Fault, Ground
from tests.chaos.judge import accuse, longest_silence, running_elsewhere_s, summarise
from tests.chaos.listen import Listener
from tests.chaos.schedule import Event, draw
from tests.lab.conftest import DEFAULT_DIR, SPEC, lab_cli, shoal_argv

SR = "shoal"
MARKS = {"auto_poweron": "true", "shoal:restart": "true"}
WHOLE_WITHIN_S = 600.0  # of which the aims are a part; what takes longer has not come back by itself
FRESH_S = 15.0  # a VM that was heard within these writes
LOOK_EVERY_S = 3.0
APPLY_TIMEOUT_S = 1200.0
CALM_S = 15.0  # between two faults, to see that all write


@dataclass
class Run:
    """One run, and what it has found."""

    ground: Ground
    listener: Listener
    vms: dict[str, str]  # name → ref
    began_s: float = field(default_factory=time.monotonic)
    events: list[dict[str, object]] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    accusations: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.began_s:7.1f} s] {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600, help="no new fault after these (default: 3600)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the schedule (default: new)")
    parser.add_argument("--only", default="", help="names of faults, divided by commas")
    arguments = parser.parse_args()
    os.environ["SHOAL_LAB_DIR"] = os.environ.get("SHOAL_LAB_DIR", DEFAULT_DIR)
    only = arguments.only.split(",") if arguments.only else [fault.kind.name for fault in FAULTS]
    faults = {fault.kind.name: fault for fault in FAULTS if fault.kind.name in only}
    if strange := set(only) - set(faults):
        parser.error(
            f"no faults called {', '.join(sorted(strange))}; there are {', '.join(f.kind.name for f in FAULTS)}"
        )
    print(f"seed {arguments.seed}", file=sys.stderr)
    lab = prepare()
    prefix = f"chaos{os.getpid()}"
    with Listener(lab, prefix) as listener:
        run = Run(Ground(lab), listener, make_vms(lab, prefix))
        events = draw(arguments.seed, [fault.kind for fault in faults.values()], [host.name for host in lab.hosts])
        is_whole = wait_until_whole(run, "at first")
        while is_whole and time.monotonic() - run.began_s < arguments.seconds:
            event = next(events)
            is_whole = strike(run, faults[event.fault], event)
        stop_vms(run)
    print(json.dumps(report(run, arguments.seed), indent=2))
    return 1 if run.accusations else 0


def prepare() -> Lab:
    """A lab with the pool that the spec wants."""
    lab_cli("up", timeout_s=1500)
    code = subprocess.run(
        shoal_argv("apply", "--yes"), stdout=sys.stderr, timeout=APPLY_TIMEOUT_S, check=False
    ).returncode
    if code:
        sys.exit(f"shoal apply gave {code}")
    return locate()


def log_in(lab: Lab) -> witness_vm.Session:
    return witness_vm.Session(lab, enter_namespace=True)


def make_vms(lab: Lab, prefix: str) -> dict[str, str]:
    """A witness on each host, marked to start with the pool and to be started again elsewhere."""
    session, vms = log_in(lab), {}
    for host in lab.hosts:
        name = f"{prefix}-{host.index}"
        vms[name] = vm = witness_vm.create(session, SR, name)
        for key, value in MARKS.items():
            session.call("VM.add_to_other_config", vm, key, value)
        witness_vm.start(session, vm, host.name)
    return vms


def strike(run: Run, fault: Fault, event: Event) -> bool:
    """One fault from calm to calm. False: it did not come back, and the run ends."""
    time.sleep(CALM_S)
    where = {vm: place(run, vm) for vm in run.vms}
    run.say(f"{event.number}: {event.fault} on {event.host}")
    began_s = time.monotonic()
    fault.begin(run.ground, event.host)
    done_s = time.monotonic()  # when the fault stood; a crash of a host is quick, a full disk is not
    time.sleep(event.lasts_s)
    fault.end(run.ground, event.host)
    ended_s = time.monotonic()
    is_whole = wait_until_whole(run, f"after {event.fault}")
    figures = measure(run, fault, event, where, (began_s, done_s, ended_s, time.monotonic()))
    run.events.append({"number": event.number, "fault": event.fault, "host": event.host, **figures})
    run.say(f"{event.number}: {json.dumps(figures)}")
    new = [one for one in accuse(run.listener.heard()) if one not in run.accusations]
    for one in new:
        run.say(f"LOST: {one}")
    run.accusations += new
    return is_whole


def place(run: Run, vm: str) -> str:
    """The host where the VM was heard last."""
    return next((one.host for one in reversed(run.listener.heard()) if one.vm == vm), "")


def measure(
    run: Run, fault: Fault, event: Event, where: dict[str, str], times_s: tuple[float, float, float, float]
) -> dict[str, object]:
    """In seconds. The stall is of VMs whose host was not hit."""
    began_s, done_s, ended_s, whole_s = times_s
    heard, found = run.listener.heard(), {}
    hit = [vm for vm in run.vms if fault.takes_all or fault.takes_host and where[vm] == event.host]
    stalls = [longest_silence(heard, vm, began_s, whole_s).seconds for vm in run.vms if vm not in hit]
    if stalls:
        found["io_stall_s"] = max(stalls)
    if hit and not fault.takes_all:
        moved = [running_elsewhere_s(heard, vm, event.host, done_s) for vm in hit]
        found["vm_elsewhere_s"] = max((seconds for seconds in moved if seconds is not None), default=None)
    found["whole_again_s"] = round(whole_s - ended_s, 1)
    for name, value in found.items():
        if isinstance(value, float):
            run.figures[f"{event.fault} {name}"].append(value)
    return found


def wait_until_whole(run: Run, when: str) -> bool:
    """Every VM writes, every SR is plugged, Ceph is clean: `shoal status` says so, and the witnesses do."""
    deadline_s, lack = time.monotonic() + WHOLE_WITHIN_S, "nothing seen"
    while time.monotonic() < deadline_s:
        lack = look_for_lacks(run)
        if not lack:
            return True
        time.sleep(LOOK_EVERY_S)
    run.accusations.append(f"not whole again within {WHOLE_WITHIN_S:g} s {when}: {lack}")
    run.say(run.accusations[-1])
    return False


def look_for_lacks(run: Run) -> str:
    fresh_s = time.monotonic() - FRESH_S
    writing = {one.vm for one in run.listener.heard() if one.word == "ack" and one.at_s > fresh_s}
    if silent := sorted(set(run.vms) - writing):
        return f"no record of {', '.join(silent)}"
    done = lab_cli(*["exec", "--", *shoal_argv("status")[3:]], timeout_s=180, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[-600:]


def stop_vms(run: Run) -> None:
    """As far as it can be: the lab stays up to be looked at."""
    try:
        session = log_in(run.ground.lab)
        for vm in run.vms.values():
            for key in MARKS:
                session.call("VM.remove_from_other_config", vm, key)
            if session.call("VM.get_power_state", vm) != "Halted":
                session.call("VM.hard_shutdown", vm)
    except (OSError, witness_vm.XenApiFailure) as error:
        run.say(f"the witnesses could not be stopped: {error}")


def report(run: Run, seed: int) -> dict[str, object]:
    acked = {vm: max((one.number for one in run.listener.heard() if one.vm == vm), default=0) for vm in run.vms}
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - run.began_s),
        "faults": len(run.events),
        "acknowledged_records": sum(acked.values()),
        "lost": run.accusations,
        "figures": summarise(run.figures),
        "events": run.events,
    }


if __name__ == "__main__":
    assert SPEC.exists()
    sys.exit(main())
