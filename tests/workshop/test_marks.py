"""docs/reference/what-shoal-writes.md names every mark that the product puts on what it makes, and no other."""

from __future__ import annotations

import re

from tests.workshop.sources import ROOT, python_files

PAGE = ROOT / "docs" / "reference" / "what-shoal-writes.md"
MARK = re.compile(r"shoal:[a-z][a-z-]*")


def test_marks_are_described() -> None:
    sources = (ROOT / path for path in python_files() if path.parts[0] in {"src", "dom0", "volumes"})
    used = {mark for source in sources for mark in MARK.findall(source.read_text())}
    assert set(MARK.findall(PAGE.read_text())) == used
