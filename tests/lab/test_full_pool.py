"""A Ceph pool reaches its quota under a guest that writes, by real krbd: it waits, a person is told, and it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.test_disks import start_and_read, wait_for_acks
from tests.lab.test_pool import CEPH
from tests.lab.witnesses import remove

pytestmark = [pytest.mark.lab, pytest.mark.long]  # five minutes, most of them patience of the keeper's
NAME, HOST, OTHER = "witness-full", "xen2", "xen3"
STANDS_STILL_S = 20.0
TOLD = "SHOAL_CEPH_FULL"


@pytest.fixture
def vm(lab: Lab, session: witness_vm.Session) -> Iterator[str]:
    made = witness_vm.create(session, "shoal", NAME)
    yield made
    set_quota(lab, 0)
    remove(lab, session, made)


def test_a_guest_waits_for_room_and_loses_nothing(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    witness_vm.start(session, vm, HOST)
    wait_for_acks(lab, HOST, NAME, 20)
    set_quota(lab, 1024)
    acked = wait_until_it_stands_still(lab)
    (sr,) = session.call("SR.get_by_name_label", "shoal")
    with pytest.raises(witness_vm.XenApiFailure) as refused:
        session.call("VDI.create", witness_vm.vdi_record(sr, "no room"))
    assert refused.value.code == "SR_BACKEND_FAILURE_44"
    witness_vm.wait_for(lambda: messages(session), lambda told: TOLD in told, timeout_s=240, what=TOLD)
    assert session.call("VM.get_power_state", vm) == "Running"

    set_quota(lab, 0)
    acked = wait_for_acks(lab, HOST, NAME, acked + 20)
    witness_vm.wait_for(lambda: messages(session), lambda told: TOLD not in told, timeout_s=240, what=f"no {TOLD}")
    witness_vm.stop(lab, session, vm)
    assert start_and_read(lab, session, vm, OTHER, NAME) >= acked


def set_quota(lab: Lab, max_bytes: int) -> None:
    in_storage_vm(lab, lab.hosts[0], [*CEPH, "osd", "pool", "set-quota", "rbd", "max_bytes", str(max_bytes)])


def wait_until_it_stands_still(lab: Lab) -> int:
    """The manager counts, and says so every few seconds. The last record that was acknowledged by then."""
    last, since = -1, time.monotonic()

    def look() -> tuple[int, float]:
        nonlocal last, since
        acked = witness_vm.read_console(lab, HOST, NAME).acked
        if acked != last:
            last, since = acked, time.monotonic()
        return acked, time.monotonic() - since

    found = witness_vm.wait_for(look, lambda seen: seen[1] > STANDS_STILL_S, timeout_s=180, what=f"{NAME} to wait")
    return found[0]


def messages(session: witness_vm.Session) -> set[str]:
    return {str(message["name"]) for message in session.call("message.get_all_records").values()}
