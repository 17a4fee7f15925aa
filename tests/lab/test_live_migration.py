"""A VM moves to another host while it writes: its memory comes along, its disk is mapped on one host at a time."""

from __future__ import annotations

import time

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import lab_cli
from tests.lab.test_disks import disk_of, start_and_read, wait_for_acks

pytestmark = [pytest.mark.lab, pytest.mark.long]
SR, NAME = "shoal", "witness-moves"
HOSTS = ("xen2", "xen3")
RECORDS = 60
MAPS = "cat /sys/bus/rbd/devices/*/name 2>/dev/null || :"
# The longest time between two records, by the guest's clock; $1 the disk, $2 the first record that counts.
LONGEST_GAP = r"""dd if="$1" bs=1M count=16 iflag=direct status=none | python3 -c '
import struct, sys
data = sys.stdin.buffer.read()
found = [at for at in range((int(sys.argv[1]) - 1) * 4096, len(data), 4096) if data[at:at + 8] == b"SHOALWIT"]
times = [struct.unpack_from("<Q", data, at + 24)[0] for at in found]
print(max(later - earlier for earlier, later in zip(times, times[1:])) / 1e9)' "$2" """


def test_a_vm_moves_there_and_back_and_goes_on_counting(lab: Lab, session: witness_vm.Session) -> None:
    vm = witness_vm.create(session, SR, NAME)
    witness_vm.stop(lab, session, vm)
    source, target = HOSTS
    witness_vm.start(session, vm, source)
    wait_for_acks(lab, source, NAME, RECORDS)
    for here, there in ((source, target), (target, source)):
        move(lab, session, vm, here, there)
    acked = witness_vm.read_console(lab, source, NAME).acked
    witness_vm.stop(lab, session, vm)
    assert start_and_read(lab, session, vm, target, NAME) >= acked
    witness_vm.stop(lab, session, vm)


def move(lab: Lab, session: witness_vm.Session, vm: str, here: str, there: str) -> None:
    disk = disk_of(session, vm)
    uuid, sr = session.call("VDI.get_uuid", disk), session.call("SR.get_uuid", session.call("VDI.get_SR", disk))
    (host,) = session.call("host.get_by_name_label", there)
    lab_cli("run", there, "--", "rm", "-f", witness_vm.console_log(NAME))
    before, began = witness_vm.read_console(lab, here, NAME).acked, time.monotonic()
    session.call("VM.pool_migrate", vm, host, {"live": "true"})
    took_s = time.monotonic() - began
    assert (session.call("VM.get_resident_on", vm), session.call("VM.get_power_state", vm)) == (host, "Running")

    last = witness_vm.read_console(lab, here, NAME).acked
    wait_for_acks(lab, there, NAME, last + RECORDS)
    said = witness_vm.read_console(lab, there, NAME).text
    assert "witness start" not in said, "it was started anew"
    assert "failed" not in said
    assert numbers(said)[0] <= last + 2, "records are missing"  # what tells of one may lie in both logs, half in each
    assert f"vdi-{uuid}" not in lab_cli("run", here, "--", "sh", "-c", MAPS).stdout.split()
    assert f"vdi-{uuid}" in lab_cli("run", there, "--", "sh", "-c", MAPS).stdout.split()
    look = ("sh", "-c", LONGEST_GAP, "sh", f"/dev/sm/backend/{sr}/{uuid}", str(before))
    paused_s = float(lab_cli("run", there, "--", *look).stdout)
    print(f"{here} to {there}: {took_s:.1f} s, of which it stood still for {paused_s:.1f} s")


def numbers(text: str) -> list[int]:
    """Of the records that were acknowledged, in order; none is missing in between."""
    found = [int(words[1]) for words in map(str.split, text.splitlines()) if len(words) == 2 and words[0] == "ack"]
    assert found == list(range(found[0], found[0] + len(found)))
    return found
