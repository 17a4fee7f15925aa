"""A disk that forgets at each start what its VM wrote, and blocks that changed while a VM went on writing."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import lab_cli
from tests.lab.test_disks import disk_of, start_and_read, wait_for_acks

pytestmark = [pytest.mark.lab, pytest.mark.long]
SR, NAME = "shoal", "witness-resets"
HOST, OTHER = "xen2", "xen3"
RECORDS = 50
BLOCK_BYTES = 64 * 1024
LOOKED_AT = 256  # blocks: the witness has written less than these 16 MiB
# Numbers of the blocks in which two devices differ, of so many.
COMPARE = f"""import sys
old, new = (open(path, "rb", 0) for path in sys.argv[1:3])
print(*(n for n in range({LOOKED_AT}) if old.read({BLOCK_BYTES}) != new.read({BLOCK_BYTES})))"""


@pytest.fixture
def vm(lab: Lab, session: witness_vm.Session) -> Iterator[str]:
    made = witness_vm.create(session, SR, NAME)
    witness_vm.stop(lab, session, made)
    yield made
    witness_vm.stop(lab, session, made)
    disk = disk_of(session, made)
    session.call("VM.destroy", made)
    for each in (*session.call("VDI.get_snapshots", disk), disk):
        session.call("VDI.destroy", each)


def test_what_a_vm_wrote_is_forgotten_at_its_next_start(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    disk = disk_of(session, vm)
    witness_vm.start(session, vm, HOST)
    acked = wait_for_acks(lab, HOST, NAME, RECORDS)
    witness_vm.stop(lab, session, vm)
    session.call("VDI.set_on_boot", disk, "reset")

    kept = start_and_read(lab, session, vm, HOST, NAME)
    assert kept >= acked
    for host in (OTHER, HOST):  # wherever it starts
        wait_for_acks(lab, OTHER if host == HOST else HOST, NAME, kept + RECORDS)
        witness_vm.stop(lab, session, vm)
        assert start_and_read(lab, session, vm, host, NAME) == kept

    acked = wait_for_acks(lab, HOST, NAME, kept + RECORDS)
    witness_vm.stop(lab, session, vm)
    session.call("VDI.set_on_boot", disk, "persist")
    assert start_and_read(lab, session, vm, HOST, NAME) >= acked, "what the last run wrote is lost"


def test_blocks_that_changed_under_a_running_vm(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    disk = disk_of(session, vm)
    witness_vm.start(session, vm, HOST)
    acked = wait_for_acks(lab, HOST, NAME, RECORDS)
    session.call("VDI.enable_cbt", disk)
    first = session.call("VDI.snapshot", disk, {})
    wait_for_acks(lab, HOST, NAME, acked + RECORDS)
    second = session.call("VDI.snapshot", disk, {})
    told = changed(session, first, second)
    assert told == differing(session, first, second)
    assert told and max(told) < LOOKED_AT

    session.call("VDI.data_destroy", first)
    assert session.call("VDI.get_type", first) == "cbt_metadata"
    assert changed(session, first, second) == told
    with pytest.raises(witness_vm.XenApiFailure, match="VDI_INCOMPATIBLE_TYPE"):
        session.call("VDI.clone", first, {})
    wait_for_acks(lab, HOST, NAME, acked + 2 * RECORDS)  # nothing of it has disturbed the VM


def changed(session: witness_vm.Session, older: str, newer: str) -> set[int]:
    """Numbers of the blocks that the driver tells. The first bit of a byte is its highest."""
    answer = session.call("VDI.list_changed_blocks", older, newer)
    bits = "".join(f"{byte:08b}" for byte in base64.b64decode(answer, validate=True))
    return {number for number, bit in enumerate(bits) if bit == "1"}


def differing(session: witness_vm.Session, older: str, newer: str) -> set[int]:
    """Numbers of the blocks that do differ: both read in the dom0 of a host where the VM does not run."""
    (host,) = session.call("host.get_by_name_label", OTHER)
    dom0 = session.call("host.get_control_domain", host)
    vbds = []
    try:
        for vdi in (older, newer):
            vbds.append(session.call("VBD.create", reader(dom0, vdi)))
            session.call("VBD.plug", vbds[-1])
        devices = [f"/dev/{session.call('VBD.get_device', vbd)}" for vbd in vbds]
        assert lab_cli("run", OTHER, "--", "blockdev", "--getro", *devices).stdout.split() == ["1", "1"]
        return {int(word) for word in lab_cli("run", OTHER, "--", "python3", "-c", COMPARE, *devices).stdout.split()}
    finally:
        for vbd in vbds:
            if session.call("VBD.get_currently_attached", vbd):
                session.call("VBD.unplug", vbd)
            session.call("VBD.destroy", vbd)


def reader(vm: str, vdi: str) -> dict[str, object]:
    return {
        "VM": vm,
        "VDI": vdi,
        "userdevice": "autodetect",
        "bootable": False,
        "mode": "RO",
        "type": "Disk",
        "unpluggable": True,
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }
