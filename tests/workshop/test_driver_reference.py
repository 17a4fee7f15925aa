"""docs/reference/driver.md has one row for each capability that the driver declares, with its commands, no other."""

from __future__ import annotations

import re
from collections import Counter

from dom0.shoal_dom0.driver import CAPABILITIES
from tests.workshop.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "driver.md"
HEAD = "| capability | command | what it does |\n|---|---|---|\n"
NAME = re.compile(r"`([\w/]+)`")


def test_each_capability_has_one_row_with_its_commands() -> None:
    table = PAGE.read_text().partition(HEAD)[2].partition("\n\n")[0]
    rows = [[set(NAME.findall(cell)) for cell in row.split("|")[1:3]] for row in table.splitlines()]
    told = Counter(name for capabilities, _ in rows for name in capabilities)
    assert told == Counter(list(CAPABILITIES))
    for capabilities, commands in rows:
        assert commands == {command for name in capabilities for command in CAPABILITIES[name]}, capabilities
