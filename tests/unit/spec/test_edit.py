"""Edits of a spec's text: what is meant changes, and nothing else."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from shoal.spec.edit import ADD_DISK, ADD_HOST, REMOVE_DISK, REMOVE_HOST, REPLACE_DISK, SET_IMAGE, Edit, apply_edit
from shoal.spec.load import parse
from shoal.spec.sources import Surroundings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "examples" / "three-hosts.yaml").read_text()
OLD = "/dev/disk/by-id/ata-Samsung_SSD_870_S5STNF0R000003"
NVME = "/dev/disk/by-id/nvme-WDC_WDS100T1X0E_21111D800001"
NEW = "/dev/disk/by-id/ata-NEW"
ENTRY = {"device": NEW, "use": "whole-disk"}
HOST = {"name": "xen4", "storage_vm": {"address": "192.168.10.24"}, "disks": [ENTRY]}


def diff(edit: Edit, text: str = TEXT) -> list[str]:
    new = apply_edit(text, edit)
    assert parse(new, Path("shoal.yaml"), Surroundings(environ={"SHOAL_POOL_PASSWORD": "never shown"}))
    assert apply_edit(new, edit) == new
    lines = difflib.unified_diff(text.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:2] not in ("--", "++", "@@")]


def test_a_disk_more() -> None:
    assert diff(Edit(ADD_DISK, "xen1", NEW, ENTRY)) == [f"+      - {{device: {NEW}, use: whole-disk}}"]


def test_another_disk_in_its_place() -> None:
    text = TEXT.replace("wipe: false", "size: 1TiB, wipe: true")
    assert diff(Edit(REPLACE_DISK, "xen3", NVME, {"device": NEW}), text) == [
        f"-      - {{device: {NVME}, use: whole-disk, size: 1TiB, wipe: true}}",
        f"+      - {{device: {NEW}, use: whole-disk, size: 1TiB}}",
    ]
    assert diff(Edit(REPLACE_DISK, "xen3", NVME, {"device": NEW, "use": "free-space"}), text)[1:] == [
        f"+      - {{device: {NEW}, use: free-space}}",
    ]


def test_a_disk_less_and_a_disk_in_its_number() -> None:
    edit = Edit(REMOVE_DISK, "xen3", OLD)
    assert diff(edit) == [
        f"-      - {{device: {OLD}, use: free-space}}",
        f"-      - {{device: {NVME}, use: whole-disk, wipe: false}}",
        f"+      - {{device: {NVME}, use: whole-disk, wipe: false, number: 2}}",
    ]
    without = apply_edit(TEXT, edit)
    assert diff(Edit(ADD_DISK, "xen3", NEW, ENTRY), without) == [
        f"+      - {{device: {NEW}, use: whole-disk, number: 1}}"
    ]


def test_a_host_more_and_less() -> None:
    added = diff(Edit(ADD_HOST, "xen4", entry=HOST))
    assert added == [
        "+  - name: xen4",
        "+    storage_vm: {address: 192.168.10.24}",
        "+    disks:",
        f"+      - {{device: {NEW}, use: whole-disk}}",
    ]
    more = apply_edit(TEXT, Edit(ADD_HOST, "xen4", entry=HOST))
    assert len(diff(Edit(REMOVE_HOST, "xen4"), more)) == 4


@pytest.mark.parametrize("what", [REPLACE_DISK, REMOVE_DISK])
def test_what_is_not_there_changes_nothing(what: str) -> None:
    assert apply_edit(TEXT, Edit(what, "xen1", "/dev/disk/by-id/none", {"device": NEW})) == TEXT
    assert apply_edit(TEXT, Edit(what, "xen9", OLD, {"device": NEW})) == TEXT


def test_another_image_of_ceph() -> None:
    (line,) = [line for line in TEXT.splitlines() if line.startswith("  image: ") and "ceph" in line]
    old = line.split()[1]
    new = Edit(SET_IMAGE, "", entry={"image": "quay.io/ceph/ceph:v20.1.0"})
    assert diff(new) == [f"-{line}", f"+{line.replace(old, 'quay.io/ceph/ceph:v20.1.0')}"]
    # The version was written for the image before.
    with_version = TEXT.replace(line, f"{line}\n  version: 19.2.3")
    assert "+  version: 19.2.3" not in diff(new, with_version) and "-  version: 19.2.3" in diff(new, with_version)
    named = Edit(SET_IMAGE, "", entry={"image": "quay.io/ceph/ceph:latest", "version": "20.1.0"})
    assert "+  version: 20.1.0" in diff(named, with_version)


COMMENTED = """---
# Ours
hosts:
  # rack A
  - name: xen1
    storage_vm: {address: 192.168.10.21}  # its own
    disks:
      # slow
      - device: /dev/disk/by-id/a
        use:   whole-disk
      # quick
      - device: /dev/disk/by-id/b
        use: whole-disk  # all of it

  # rack B
  - name: xen2
    storage_vm: {address: 192.168.10.22}
    disks:
      # its only one
      - device: /dev/disk/by-id/c
        use: whole-disk

# Pinned
ceph:
  image: ceph:v19.2.3  # by hand
  # no tag tells it
  version: 19.2.3

# The pool
srs: []
"""


A, B, C, D = (f"/dev/disk/by-id/{letter}" for letter in "abcd")
XEN1 = COMMENTED[COMMENTED.index("  - name: xen1") : COMMENTED.index("\n  # rack B")]
XEN2 = COMMENTED[COMMENTED.index("\n  - name: xen2") : COMMENTED.index("\n\n# Pinned")]


@pytest.mark.parametrize(
    ("edit", "old", "new"),
    [
        (Edit(REMOVE_HOST, "xen1"), XEN1, ""),
        (Edit(REMOVE_HOST, "xen2"), XEN2, ""),
        (Edit(ADD_HOST, "xen3", entry={"name": "xen3", "disks": []}), XEN2, f"{XEN2}\n  - name: xen3\n    disks: []"),
        (Edit(REMOVE_DISK, "xen1", B), f"      - device: {B}\n        use: whole-disk  # all of it\n", ""),
        (
            Edit(REMOVE_DISK, "xen1", A),
            f"      - device: {A}\n        use:   whole-disk\n      # quick\n      - device: {B}\n"
            "        use: whole-disk  # all of it\n",
            f"      # quick\n      - device: {B}\n        use: whole-disk  # all of it\n        number: 2\n",
        ),
        (
            Edit(ADD_DISK, "xen2", D, {"device": D, "use": "whole-disk"}),
            f"{C}\n        use: whole-disk\n",
            f"{C}\n        use: whole-disk\n      - device: {D}\n        use: whole-disk\n",
        ),
        (
            Edit(REPLACE_DISK, "xen1", B, {"device": B, "wipe": True}),
            "# all of it\n",
            "# all of it\n        wipe: true\n",
        ),
        (
            Edit(SET_IMAGE, "", entry={"image": "ceph:v20.1.0"}),
            "  image: ceph:v19.2.3  # by hand\n  # no tag tells it\n  version: 19.2.3\n",
            "  image: ceph:v20.1.0  # by hand\n  # no tag tells it\n",
        ),
    ],
)
def test_comments_stay_where_they_stand(edit: Edit, old: str, new: str) -> None:
    assert COMMENTED.count(old) == 1
    changed = apply_edit(COMMENTED, edit)
    assert changed == COMMENTED.replace(old, new)
    assert apply_edit(changed, edit) == changed


def test_a_value_of_many_lines_is_no_hindrance() -> None:
    text = TEXT.replace("hosts:", "hosts:  # all", 1) + "notes: |\n  one\n\n  # two\nmore: {a: 1,  # one\n  b: 2}\n"
    changed = apply_edit(text, Edit(ADD_HOST, "xen4", entry=HOST))
    assert YAML(typ="safe").load(changed)["notes"] == "one\n\n# two\n"
    assert YAML(typ="safe").load(changed)["more"] == {"a": 1, "b": 2}
    assert YAML(typ="safe").load(changed)["hosts"][-1] == HOST
