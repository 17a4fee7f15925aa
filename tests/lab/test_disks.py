"""Snapshots, clones, revert and growing under a running guest: real krbd and blkback, and the witness as the judge."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import BIN, ROOT, SPEC, lab_cli
from tests.lab.storage_vm_shell import in_storage_vm
from tests.lab.witnesses import remove

pytestmark = pytest.mark.lab
MIB = 1 << 20
NAME, COPY = "witness-disks", "witness-copy"
# In any monitor's container: names of images in the pool, of those in the trash, and of all snapshots.
LEFT = """c=$(docker ps -q --filter name=-mon-) && docker exec $c sh -c '
ceph -n mon. -k /var/lib/ceph/mon/*/keyring auth get client.admin -o /tmp/k >/dev/null 2>&1
rbd="rbd -n client.admin -k /tmp/k -p rbd"
$rbd ls; $rbd trash ls --all; for i in $($rbd ls); do $rbd snap ls --all $i; done; rm -f /tmp/k'"""


@pytest.fixture
def vm(lab: Lab, session: witness_vm.Session) -> Iterator[str]:
    made = witness_vm.create(session, "shoal", NAME)
    witness_vm.stop(lab, session, made)
    yield made
    for name in (NAME, COPY):
        for left in session.call("VM.get_by_name_label", name):
            remove(lab, session, left)


def disk_of(session: witness_vm.Session, vm: str) -> str:
    (vbd,) = session.call("VM.get_VBDs", vm)
    return str(session.call("VBD.get_VDI", vbd))


def wait_for_acks(lab: Lab, host: str, name: str, count: int) -> int:
    return witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, name),
        lambda console: console.acked >= count,
        timeout_s=240,
        what=f"{name} to acknowledge {count} records on {host}",
    ).acked


def start_and_read(lab: Lab, session: witness_vm.Session, vm: str, host: str, name: str) -> int:
    """The highest valid record that the guest finds on its disk."""
    witness_vm.start(session, vm, host)
    console = witness_vm.wait_for(
        lambda: witness_vm.read_console(lab, host, name),
        lambda console: console.highest is not None,
        timeout_s=240,
        what=f"{name} to say what it found",
    )
    assert "damaged" not in console.text
    assert console.highest is not None
    return console.highest


@pytest.mark.long  # two minutes
def test_a_running_disk_is_copied_reverted_and_cleared_away(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    disk = disk_of(session, vm)
    before = objects_left(lab) - {f"vdi-{session.call('VDI.get_uuid', disk)}"}
    witness_vm.start(session, vm, "xen2")
    acked = wait_for_acks(lab, "xen2", NAME, 100)
    snapshot = session.call("VDI.snapshot", disk, {})
    record = session.call("VDI.get_record", snapshot)
    assert (record["is_a_snapshot"], record["snapshot_of"]) == (True, disk)
    later = wait_for_acks(lab, "xen2", NAME, acked + 100)  # it has gone on writing

    clone = session.call("VDI.clone", snapshot, {})
    copy = witness_vm.create(session, "shoal", COPY)
    replace_disk(session, copy, clone)
    found = start_and_read(lab, session, copy, "xen3", COPY)
    assert acked <= found < later
    wait_for_acks(lab, "xen3", COPY, found + 20)  # the clone is a disk of its own

    witness_vm.stop(lab, session, vm)
    session.call("VDI.revert", snapshot)
    assert start_and_read(lab, session, vm, "xen2", NAME) == found

    # The disk first, then the snapshot that it came back to, the clone of that last.
    for machine in (vm, copy):
        witness_vm.stop(lab, session, machine)
        session.call("VM.destroy", machine)
    for each in (disk, snapshot, clone):
        session.call("VDI.destroy", each)
    witness_vm.wait_for(
        lambda: objects_left(lab), lambda left: left == before, timeout_s=180, what="the pool to be as before"
    )


def replace_disk(session: witness_vm.Session, vm: str, disk: str) -> None:
    (vbd,) = session.call("VM.get_VBDs", vm)
    record = session.call("VBD.get_record", vbd)
    session.call("VBD.destroy", vbd)
    session.call("VDI.destroy", record["VDI"])
    session.call("VBD.create", {**record, "VDI": disk})


def objects_left(lab: Lab) -> set[str]:
    """Images, trash and snapshots, without their sizes and times."""
    said = in_storage_vm(lab, lab.hosts[0], ["sh", "-c", LEFT])
    return set(re.findall(r"\b(?:vdi|base|new|snap|clone)-[0-9a-f-]+", said))


def test_a_guest_sees_its_disk_grow(lab: Lab, session: witness_vm.Session, vm: str) -> None:
    witness_vm.start(session, vm, "xen2")
    acked = wait_for_acks(lab, "xen2", NAME, 10)
    disk = disk_of(session, vm)
    size_bytes = int(session.call("VDI.get_virtual_size", disk)) + 256 * MIB
    session.call("VDI.resize_online", disk, str(size_bytes))
    wait_for_acks(lab, "xen2", NAME, acked + 20)
    uuid = session.call("VDI.get_uuid", disk)
    sr = session.call("SR.get_uuid", session.call("VDI.get_SR", disk))
    seen = lab_cli("run", "xen2", "--", "blockdev", "--getsize64", f"/dev/sm/backend/{sr}/{uuid}").stdout
    assert int(seen) == size_bytes
    # What blkback tells the guest's frontend, which takes it as its own capacity.
    sectors = lab_cli("run", "xen2", "--", "sh", "-c", "xenstore-ls -f | grep /backend/vbd/.*/sectors").stdout
    assert f'"{size_bytes // 512}"' in sectors


def test_a_disk_goes_in_and_out_whole(lab: Lab, session: witness_vm.Session, tmp_path: Path) -> None:
    source, back = tmp_path / "disk.img", tmp_path / "back.img"
    content = bytes(range(256)) * 4096
    with source.open("wb") as file:
        file.write(content)
        file.truncate(64 * MIB)
        file.seek(48 * MIB)
        file.write(content)
    name = "goes in and out"
    shoal_disk("import", str(source), "--sr", "shoal", "--name", name)
    (vdi,) = session.call("VDI.get_by_name_label", name)
    try:
        uuid = session.call("VDI.get_uuid", vdi)
        shoal_disk("export", uuid, str(back))
        assert back.read_bytes() == source.read_bytes()
    finally:
        session.call("VDI.destroy", vdi)


def shoal_disk(verb: str, *words: str) -> None:
    done = subprocess.run(
        [BIN / "shoal-lab", "exec", "--", BIN / "shoal", "disk", verb, "-f", SPEC, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
