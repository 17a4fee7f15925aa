"""docs/reference/what-shoal-writes.md names every mark and every file that the product puts anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.kit.shipped import DOM0_OWN, DOM0_WANTS
from shoal.steps.destroy import dom0_kit, rbd_map, shared_sr
from tests.workshop.sources import ROOT, python_files

PAGE = ROOT / "docs" / "reference" / "what-shoal-writes.md"
MARK = re.compile(r"shoal:[a-z][a-z-]*")
PATH = re.compile(r'"(/(?:etc|opt)/[\w./-]+)"')


def test_marks_are_described() -> None:
    sources = (ROOT / path for path in python_files() if path.parts[0] in {"src", "dom0", "volumes"})
    used = {mark for source in sources for mark in MARK.findall(source.read_text())}
    assert set(MARK.findall(PAGE.read_text())) == used


def test_files_are_described() -> None:
    """Every path that a step names as a constant: itself, or a folder above it."""
    steps = [path for path in python_files() if path.parts[:3] == ("src", "shoal", "steps")]
    shipped = [Path("src/shoal/kit/shipped.py"), Path("src/shoal/spec/names.py")]
    used = {path for source in (*steps, *shipped) for path in PATH.findall((ROOT / source).read_text())}
    assert used
    page = PAGE.read_text()
    assert [path for path in sorted(used) if f"`{path}" not in page] == []


AFTER = "after `shoal destroy`"
WORDS = ("gone", "stays", "the block is gone", "the links are gone", "what it was", "on another SR it stays")
# Not files that a step removes by their path, but undone by these.
UNDONE_OTHERWISE = {
    "/etc/lvm": dom0_kit,
    "/etc/xapi.d/plugins/xscontainer": dom0_kit,
    "/dev/rbd/POOL/IMAGE": rbd_map,
    "/dev/sm/backend/SR/VDI": shared_sr,  # unplugged, the driver takes its links away
}


def rows(section: str) -> Iterator[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert AFTER in lines[0], section
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("section", ["In each dom0", "In the pool's database", "In Ceph", "On the workstation"])
def test_the_page_says_what_becomes_of_everything(section: str) -> None:
    for cells in rows(section):
        assert cells[-1].startswith(WORDS), cells


def test_destroy_removes_every_file_that_is_described_in_dom0() -> None:
    for cells in rows("In each dom0"):
        for path in re.findall(r"`(/[^`]+)`", cells[0]):
            covered = any(path == own or path.startswith(f"{own}/") for own in DOM0_OWN)
            assert covered or path.removesuffix("/master") in UNDONE_OTHERWISE or path == "/var/log/SMlog", path


def test_destroy_removes_no_file_that_is_not_described() -> None:
    page = PAGE.read_text()
    names = [path for path in DOM0_OWN if path not in DOM0_WANTS]
    assert [path for path in names if f"`{path}" not in page] == []
    assert "multi-user.target.wants" in page
