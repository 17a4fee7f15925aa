"""docs/reference/what-shoal-writes.md names every mark and every file that the product puts anywhere."""

from __future__ import annotations

import re
from pathlib import Path

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
