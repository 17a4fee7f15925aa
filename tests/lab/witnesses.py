"""Witness VMs: one that the pool starts again by itself, and one that goes."""

from __future__ import annotations

from functools import partial

from lab import witness_vm
from lab.topology import Lab

RUNS_WITHIN_S = 420
SAYS_WITHIN_S = 240
MORE = 10  # records, to see that it goes on


def wait_until_it_goes_on(lab: Lab, session: witness_vm.Session, vm: str, name: str, acked: int) -> None:
    """On any host, with all records. The console of its first run, which found none, may be there still."""
    states = partial(session.call, "VM.get_power_state", vm)
    witness_vm.wait_for(
        states, lambda state: state == "Running", timeout_s=RUNS_WITHIN_S, what=f"the marked VM {name} to run"
    )
    host = session.call("host.get_name_label", session.call("VM.get_resident_on", vm))
    look = partial(witness_vm.read_console, lab, host, name)
    after = witness_vm.wait_for(
        look,
        lambda console: (console.highest or 0) >= acked,
        timeout_s=SAYS_WITHIN_S,
        what=f"{name} on {host} to find its {acked} records",
    )
    assert "damaged" not in after.text
    more = (after.highest or 0) + MORE
    witness_vm.wait_for(look, lambda console: console.acked >= more, timeout_s=SAYS_WITHIN_S, what=f"{name} to go on")


def remove(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    """With its disks."""
    witness_vm.stop(lab, session, vm)
    disks = [session.call("VBD.get_VDI", vbd) for vbd in session.call("VM.get_VBDs", vm)]
    session.call("VM.destroy", vm)
    for disk in disks:
        session.call("VDI.destroy", disk)
