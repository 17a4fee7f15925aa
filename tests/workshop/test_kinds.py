"""One kind of action, one name everywhere: its files in plan/ and steps/, its word for people, its row on the page."""

from __future__ import annotations

import re

from shoal.cli.render import WORDS
from shoal.plan.planner import KINDS
from shoal.steps.registry import STEPS
from tests.workshop.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "shoal.md"
ROW = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)


def test_kinds_are_described_with_their_words() -> None:
    table = PAGE.read_text().partition("| kind | shown as |")[2]
    assert dict(ROW.findall(table)) == {kind: WORDS[kind] for kind in KINDS}


def test_every_kind_has_a_step() -> None:
    assert set(STEPS) == set(KINDS)


def test_every_kind_has_its_two_files() -> None:
    wanted = [ROOT / "src" / "shoal" / layer / f"{kind}.py" for kind in KINDS for layer in ("plan", "steps")]
    assert [str(path) for path in wanted if not path.is_file()] == []
