"""A VM's data survives the loss of its host, and its disk never has two writers."""

from __future__ import annotations

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import Run, lab_cli

pytestmark = [pytest.mark.lab, pytest.mark.long]  # test_failover: the keepers start it elsewhere
RECORDS = 500


@pytest.fixture(scope="module")
def session(lab: Lab, shoal: Run) -> witness_vm.Session:
    done = shoal("apply", "--yes", timeout_s=1200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return witness_vm.Session(lab, enter_namespace=True)


def wait_for_acks(lab: Lab, host: str, count: int) -> witness_vm.Console:
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host),
        lambda console: console.acked >= count,
        timeout_s=240,
        what=f"{count} records acknowledged on {host}",
    )


def test_records_survive_the_loss_of_a_host(lab: Lab, session: witness_vm.Session) -> None:
    vm = witness_vm.create(session, "shoal")
    witness_vm.start(session, vm, "xen2")
    wait_for_acks(lab, "xen2", RECORDS)
    check_disk_is_mapped(lab, session, vm, "xen2")
    check_second_host_is_refused(lab, session, vm)
    before = witness_vm.read_console(lab, "xen2")

    lab_cli("crash", "xen2")
    session.call("VM.power_state_reset", vm)
    seconds = witness_vm.start(session, vm, "xen3")
    print(f"on xen3 after {seconds:.1f} s")

    after = witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, "xen3"),
        lambda console: console.highest is not None,
        timeout_s=240,
        what="the witness to say what it found",
    )
    assert after.highest is not None
    assert after.highest >= before.acked >= RECORDS
    assert "damaged" not in after.text
    wait_for_acks(lab, "xen3", after.highest + 10)


def disk_of(session: witness_vm.Session, vm: str) -> str:
    (vbd,) = session.call("VM.get_VBDs", vm)
    return str(session.call("VDI.get_uuid", session.call("VBD.get_VDI", vbd)))


def check_disk_is_mapped(lab: Lab, session: witness_vm.Session, vm: str, host: str) -> None:
    names = lab_cli("run", host, "--", "sh", "-c", "cat /sys/bus/rbd/devices/*/name").stdout.split()
    assert f"vdi-{disk_of(session, vm)}" in names


def check_second_host_is_refused(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    """xapi's own check first; then the driver itself, asked behind xapi's back on another host."""
    (xen3,) = session.call("host.get_by_name_label", "xen3")
    with pytest.raises(witness_vm.XenApiFailure, match="VM_BAD_POWER_STATE"):
        session.call("VM.start_on", vm, xen3, False, False)
