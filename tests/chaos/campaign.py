"""A run from its first witness to its report."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from lab import witness_vm
from lab.topology import Lab
from shoal.spec.detection import DETECTION
from tests.chaos import figures, proof
from tests.chaos.defaults import ceph_defaults
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.ground import Ground
from tests.chaos.listen import Listener
from tests.chaos.run import CALM_START, Run, attempt, strike
from tests.chaos.schedule import Event, draw

SR = "shoal"
MARKS = {"auto_poweron": "true", "shoal:restart": "true"}
PAUSE_MS = 100  # three VMs without rest would take both processors for themselves where hosts are emulated
CRASH_LASTS_S = 60.0
REMOVE_WITHIN_S = 180.0
REMOVE_CALL_TIMEOUT_S = 60.0  # a call that is forwarded to a dead host is answered by nobody
BY_DEFAULT = "crash with Ceph's defaults"
NOTES = (
    "clock-skew: dom0's clock only; storage VMs have the machine's in this lab",
    "slow-network: netem where the kernel has it, else tbf (see `network`); what dom0 sends is not slowed",
    "failed-disk: every read and write of the OSD's device fails for a time; the OSD ends, and systemd starts it again",
    "vm_elsewhere_s: until the pool says that the VM runs on another host; its own boot is emulated and counted apart",
    "calm vm_start_s: VM.start where nothing is the matter, by the emulated dom0; one such is in vm_elsewhere_s",
    f"every VM rests {PAUSE_MS} ms between two records",
    "io_stall_s: the longest silence of a witness whose host was not hit",
)


@contextlib.contextmanager
def begin(lab: Lab) -> Iterator[Run]:
    """A witness on each host, which are gone again at the end."""
    prefix = f"chaos{os.getpid()}"
    with Listener(lab, prefix) as listener:
        run = Run(Ground(lab), listener, {})
        # A daemon that ends is what this is about, and Ceph would warn of it for two weeks.
        run.ground.ceph("config", "set", "mgr", "mgr/crash/warn_recent_interval", "0")
        try:
            make_vms(run, prefix)
            yield run
        finally:
            attempt(run, "the witnesses could not be removed", lambda: remove_vms(run))
            attempt(
                run,
                "Ceph's warning of crashes could not be set back",
                lambda: run.ground.ceph("config", "rm", "mgr", "mgr/crash/warn_recent_interval"),
            )


def make_vms(run: Run, prefix: str) -> None:
    """A witness on each host, marked to start with the pool and to be started again elsewhere."""
    session = run.ground.session()
    for host in run.ground.lab.hosts:
        name = f"{prefix}-{host.index}"
        run.vms[name] = vm = witness_vm.create(session, SR, name)
        for key, value in MARKS.items():
            session.call("VM.add_to_other_config", vm, key, value)
        witness_vm.rest(session, vm, PAUSE_MS)
        run.figures[CALM_START].append(round(witness_vm.start(session, vm, host.name), 1))


def remove_vms(run: Run) -> None:
    """With their disks, each as far as its host answers, and not for ever: a host may have been left dead."""
    run.say(f"removes the witnesses, for up to {REMOVE_WITHIN_S:g} s")
    deadline_s = time.monotonic() + REMOVE_WITHIN_S
    session = run.ground.session(timeout_s=REMOVE_CALL_TIMEOUT_S)
    for name, vm in run.vms.items():
        attempt(run, f"the witness {name} could not be removed", partial(remove_vm, session, vm, deadline_s))


def remove_vm(session: witness_vm.Session, vm: str, deadline_s: float) -> None:
    """Unmarked first, so that no keeper starts it again."""

    def call(method: str, *parameters: str) -> Any:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no time was left for {method}")
        return session.call(method, *parameters)

    for key in MARKS:
        call("VM.remove_from_other_config", vm, key)
    if call("VM.get_power_state", vm) != "Halted":
        call("VM.hard_shutdown", vm)
    disks = [call("VBD.get_VDI", vbd) for vbd in call("VM.get_VBDs", vm)]
    call("VM.destroy", vm)
    for disk in disks:
        call("VDI.destroy", disk)


def choose(names: Sequence[str]) -> list[Fault]:
    """Faults by name; all for none. Raises ValueError."""
    known = {fault.kind.name: fault for fault in FAULTS}
    if strange := sorted(set(names) - set(known)):
        raise ValueError(f"no faults called {', '.join(strange)}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(FAULTS)


def go_on(run: Run, faults: Sequence[Fault], seed: int, seconds: float) -> None:
    """Faults by the seed's schedule, until the time is over or something did not come back."""
    by_name = {fault.kind.name: fault for fault in faults}
    events = draw(seed, [fault.kind for fault in faults], [host.name for host in run.ground.lab.hosts])
    deadline_s = time.monotonic() + seconds
    while not run.is_broken and time.monotonic() < deadline_s:
        event = next(events)
        strike(run, by_name[event.fault], event)


def begin_slice(run: Run, seed: int) -> None:
    """A host is lost, and then all power: what no slice leaves out, whatever its seed chooses."""
    host = random.Random(seed).choice(run.ground.lab.hosts).name
    for fault, lasts_s in zip(choose(["crash", "powercut"]), (CRASH_LASTS_S, 0.0), strict=True):
        if not run.is_broken:
            strike(run, fault, Event(0, fault.kind.name, host, lasts_s))


def compare(run: Run, count: int) -> None:
    """The same hosts crash with Ceph's defaults and with Shoal's settings."""
    (fault,) = choose(["crash"])
    hosts = [host.name for host in run.ground.lab.hosts]
    events = [Event(-number, "crash", hosts[number % len(hosts)], CRASH_LASTS_S) for number in range(1, count + 1)]
    for event in events:
        if not run.is_broken:
            strike(run, fault, event)
    with ceph_defaults(run.ground):
        for event in events:
            if not run.is_broken:
                strike(run, fault, event, label=BY_DEFAULT)


def report(run: Run, seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - run.began_s),
        "faults": len(run.events),
        "acknowledged_records": sum(proof.acknowledged(run.listener.heard()).values()),
        "wrong": run.accusations,
        "false_alarms": run.false_alarms,
        "figures": figures.rows(run.figures),
        "network": run.ground.shaper or "not slowed",
        "ceph_settings": DETECTION,
        "notes": NOTES,
        "events": run.events,
    }
