"""The pool comes back by itself: after a power cut of all, of one host, of a storage VM. No hand is laid on it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import Run, lab_cli
from tests.lab.witnesses import wait_until_it_goes_on

pytestmark = pytest.mark.lab
SR = "shoal"
VM = "kept-witness"
RECORDS = 200
BACK_S = 420  # of which the aim is 180; the test machine may be busy


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    lab_cli("up", timeout_s=600)  # what ran before may have left a host without power
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return log_in(lab)


def log_in(lab: Lab) -> witness_vm.Session:
    return witness_vm.Session(lab, enter_namespace=True)


def unplugged(session: witness_vm.Session) -> list[str]:
    """Hosts on which the SR is not plugged."""
    (sr,) = session.call("SR.get_by_name_label", SR)
    pbds = [session.call("PBD.get_record", pbd) for pbd in session.call("SR.get_PBDs", sr)]
    return [session.call("host.get_name_label", pbd["host"]) for pbd in pbds if not pbd["currently_attached"]]


def state(session: witness_vm.Session, vm: str) -> str:
    return str(session.call("VM.get_power_state", vm))


def wait(look: Callable[[], object], wanted: object, what: str) -> float:
    began = time.monotonic()
    witness_vm.wait_for(look, lambda seen: seen == wanted, timeout_s=BACK_S, what=what)
    return time.monotonic() - began


def acked(lab: Lab, host: str, count: int) -> witness_vm.Console:
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, VM),
        lambda console: console.acked >= count,
        timeout_s=240,
        what=f"{count} records acknowledged on {host}",
    )


@pytest.mark.long  # test_chaos cuts it, too
def test_a_whole_pool_comes_back_after_a_power_cut(lab: Lab, session: witness_vm.Session) -> None:
    vm = witness_vm.create(session, SR, VM)
    witness_vm.stop(lab, session, vm)
    if "auto_poweron" not in session.call("VM.get_other_config", vm):
        session.call("VM.add_to_other_config", vm, "auto_poweron", "true")
    witness_vm.start(session, vm, "xen3")
    acked(lab, "xen3", RECORDS)
    before = witness_vm.read_console(lab, "xen3", VM).acked

    lab_cli("powercut")
    lab_cli("up", timeout_s=900)
    session = log_in(lab)
    seconds = wait(lambda: unplugged(session), [], "the SR to be plugged on all hosts")
    print(f"plugged everywhere {seconds:.0f} s after the hosts were up")
    seconds += wait(lambda: state(session, vm), "Running", "the VM to run")
    print(f"the marked VM runs {seconds:.0f} s after the hosts were up")

    wait_until_it_goes_on(lab, session, vm, VM, before)


def test_a_storage_vm_that_ended_is_started_again(lab: Lab, session: witness_vm.Session) -> None:
    session = log_in(lab)
    (vm,) = session.call("VM.get_by_name_label", "shoal-storage-xen3")
    session.call("VM.hard_shutdown", vm)
    print(f"it runs again after {wait(lambda: state(session, vm), 'Running', 'the storage VM to run'):.0f} s")


@pytest.mark.long  # test_failover: a dead host comes back
def test_a_host_that_lost_its_power_comes_back(lab: Lab, session: witness_vm.Session) -> None:
    lab_cli("crash", "xen3")
    lab_cli("boot", "xen3", timeout_s=600)
    session = log_in(lab)
    (vm,) = session.call("VM.get_by_name_label", "shoal-storage-xen3")
    seconds = wait(lambda: (unplugged(session), state(session, vm)), ([], "Running"), "xen3 to be as before")
    print(f"as before {seconds:.0f} s after it was up")


def test_a_keeper_that_is_killed_is_started_again(lab: Lab, session: witness_vm.Session) -> None:
    lab_cli("run", "xen1", "--", "systemctl", "kill", "--signal", "KILL", "shoal-keeper")
    status = ("systemctl", "is-active", "shoal-keeper")
    wait(lambda: lab_cli("run", "xen1", "--", *status, check=False).stdout.strip(), "active", "the keeper to run")


def test_the_pool_is_as_the_spec_says(lab: Lab, shoal: Run, session: witness_vm.Session) -> None:
    """What the keepers did is what apply would have done."""

    def plan() -> int:
        return shoal("plan", "--exit-code", timeout_s=120).returncode

    wait(plan, 0, "a plan with nothing to do")
