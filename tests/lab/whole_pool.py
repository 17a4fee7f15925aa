"""What many tests begin with: all hosts on, and the pool as the spec says."""

from __future__ import annotations

from pathlib import Path

from lab import witness_vm
from lab.topology import Lab
from tests.lab.lab_commands import SPEC, Run, lab_cli


def make_whole(shoal: Run, spec: Path = SPEC) -> None:
    lab_cli("up", timeout_s=600)
    done = shoal("apply", "--yes", spec=spec, timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def make_whole_and_quiet(lab: Lab, shoal: Run) -> witness_vm.Session:
    """No witness of other tests runs: an emulated host has memory for few guests."""
    make_whole(shoal)
    session = witness_vm.Session(lab, enter_namespace=True)
    for vm in session.call("VM.get_by_name_label", witness_vm.NAME):
        if session.call("VM.get_power_state", vm) == "Running":
            session.call("VM.hard_shutdown", vm)
    return session


def copy_spec(folder: Path) -> Path:
    """One that verbs may edit."""
    file = folder / "lab.yaml"
    file.write_text(SPEC.read_text())
    return file
