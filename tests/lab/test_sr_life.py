"""What a person does with the SR as a whole: disks come onto it, it is probed, forgotten and introduced again.

All through the toolstack, with the real driver in dom0. No guest is started: what is on the disks is compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lab import witness_vm
from lab.topology import Lab
from tests.lab.conftest import Run
from tests.lab.test_disks import replace_disk, shoal_disk
from tests.lab.witnesses import remove

pytestmark = pytest.mark.lab
MIB = 1 << 20
NULL = "OpaqueRef:NULL"
NAME = "witness-moved"
CONTENT = (bytes(range(256)) * 4096, bytes(30 * MIB), b"and at its end".rjust(MIB, b"\xa5"))
KEPT = ("name_label", "name_description", "virtual_size", "is_a_snapshot", "type", "managed", "location")


@pytest.fixture(scope="module")
def sr(session: witness_vm.Session) -> str:
    (found,) = session.call("SR.get_by_name_label", "shoal")
    return str(found)


@pytest.fixture
def local(session: witness_vm.Session) -> str:
    """The local SR of a member: what the master alone sees would be easier."""
    (host,) = session.call("host.get_by_name_label", "xen2")
    plugged = {session.call("PBD.get_SR", pbd) for pbd in session.call("host.get_PBDs", host)}
    (found,) = plugged & set(session.call("SR.get_by_name_label", "Local storage"))
    return str(found)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "disk.img"
    file.write_bytes(b"".join(CONTENT))
    return file


@pytest.fixture
def disks(session: witness_vm.Session) -> Iterator[list[str]]:
    """What a test has made; snapshots last."""
    made: list[str] = []
    yield made
    for uuid in made:
        session.call("VDI.destroy", session.call("VDI.get_by_uuid", uuid))


def bring_in(session: witness_vm.Session, image: Path, sr: str, name: str) -> str:
    shoal_disk("import", str(image), "--sr", session.call("SR.get_uuid", sr), "--name", name)
    (vdi,) = session.call("VDI.get_by_name_label", name)
    return str(vdi)


def content_of(session: witness_vm.Session, vdi: str, folder: Path) -> str:
    back = folder / "back.img"
    shoal_disk("export", session.call("VDI.get_uuid", vdi), str(back))
    digest = hashlib.sha256(back.read_bytes()).hexdigest()
    back.unlink()
    return digest


def test_it_is_found_by_a_probe(lab: Lab, session: witness_vm.Session, sr: str) -> None:
    for pbd in session.call("SR.get_PBDs", sr):
        record = session.call("PBD.get_record", pbd)
        said = session.call("SR.probe", record["host"], record["device_config"], "rbd", {})
        found = [each.text for each in ElementTree.fromstring(said).iterfind("SR/UUID")]
        assert found == [session.call("SR.get_uuid", sr)]


@pytest.mark.long
def test_a_disk_is_copied_to_it_and_back(
    session: witness_vm.Session, sr: str, local: str, image: Path, disks: list[str], tmp_path: Path
) -> None:
    source = bring_in(session, image, local, "copied")
    disks.append(session.call("VDI.get_uuid", source))
    there = session.call("VDI.copy", source, sr, NULL, NULL)
    disks.append(session.call("VDI.get_uuid", there))
    back = session.call("VDI.copy", there, local, NULL, NULL)
    disks.append(session.call("VDI.get_uuid", back))
    wanted = hashlib.sha256(image.read_bytes()).hexdigest()
    assert [content_of(session, vdi, tmp_path) for vdi in (there, back)] == [wanted, wanted]
    assert session.call("VDI.get_SR", there) == sr


@pytest.mark.long
def test_a_vms_disk_moves_to_it(
    lab: Lab, session: witness_vm.Session, sr: str, local: str, image: Path, tmp_path: Path
) -> None:
    vm = witness_vm.create(session, "shoal", NAME)
    try:
        old = bring_in(session, image, local, "moved")
        replace_disk(session, vm, old)
        uuid = session.call("VDI.get_uuid", old)
        shoal_disk("move", uuid, "--yes", "--sr", "shoal")
        (vbd,) = session.call("VM.get_VBDs", vm)
        new = session.call("VBD.get_VDI", vbd)
        assert (session.call("VDI.get_SR", new), session.call("VDI.get_name_label", new)) == (sr, "moved")
        assert content_of(session, new, tmp_path) == hashlib.sha256(image.read_bytes()).hexdigest()
        assert session.call("VDI.get_SR", old) == local  # until one asks for its end
        shoal_disk("move", uuid, "--yes", "--sr", "shoal", "--delete-source")
        assert session.call("VDI.get_by_name_label", "moved") == [new]
    finally:
        remove(lab, session, vm)


@pytest.mark.long
def test_forgotten_it_comes_back_with_names_and_snapshots(
    shoal: Run, session: witness_vm.Session, sr: str, image: Path, disks: list[str], tmp_path: Path
) -> None:
    """As on another pool, which knows nothing of its disks: what they are is kept with the images."""
    disk = bring_in(session, image, sr, "kept: ü, 'quoted' & <more>")
    session.call("VDI.set_name_description", disk, "what is said of it")
    snapshot = session.call("VDI.snapshot", disk, {})
    session.call("VDI.set_name_label", snapshot, "as it was")
    clone = session.call("VDI.clone", snapshot, {})
    disks += [session.call("VDI.get_uuid", vdi) for vdi in (disk, clone, snapshot)]
    before = known(session, sr)
    assert set(disks) <= set(before)

    record = session.call("SR.get_record", sr)
    for pbd in record["PBDs"]:
        session.call("PBD.unplug", pbd)
    session.call("SR.forget", sr)
    refused = shoal("apply", "--yes", timeout_s=600)
    assert refused.returncode != 0
    assert f"xe sr-introduce uuid={record['uuid']} type=rbd name-label=shoal" in refused.stderr
    told = ("uuid", "name_label", "name_description", "type", "content_type", "shared", "sm_config")
    again = session.call("SR.introduce", *(record[name] for name in told))
    done = shoal("apply", "--yes", timeout_s=600)  # the key to Ceph has gone with the PBDs
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    session.call("SR.scan", again)
    assert known(session, again) == before
    clone = session.call("VDI.get_by_uuid", disks[1])
    assert content_of(session, clone, tmp_path) == hashlib.sha256(image.read_bytes()).hexdigest()
    plan = shoal("plan", "--exit-code", timeout_s=180)
    assert plan.returncode == 0, plan.stdout + plan.stderr


def known(session: witness_vm.Session, sr: str) -> dict[str, dict[str, Any]]:
    """By uuid, what a person sees of each disk of the SR, and of which disk a snapshot is."""
    records = {ref: session.call("VDI.get_record", ref) for ref in session.call("SR.get_VDIs", sr)}
    return {
        record["uuid"]: {
            **{name: record[name] for name in KEPT},
            "snapshot_of": records.get(record["snapshot_of"], {}).get("uuid", ""),
        }
        for record in records.values()
    }
