"""The map in docs/explanation/architecture.md and the tree of src/shoal are the same."""

from __future__ import annotations

import re

from tests.workshop.sources import ROOT, tracked

PAGE = ROOT / "docs" / "explanation" / "architecture.md"
BRANCH = re.compile(r"^[├└]── (\S+)", re.MULTILINE)


def drawn() -> set[str]:
    """What the map draws directly under src/shoal/."""
    block = PAGE.read_text().partition("```\nsrc/shoal/\n")[2].partition("```")[0]
    return {name.rstrip("/") for name in BRANCH.findall(block)}


def there() -> set[str]:
    inside = {path.parts[2] for path in tracked() if path.parts[:2] == ("src", "shoal")}
    return inside - {"__init__.py", "__main__.py", "py.typed"}


def test_map_is_the_tree() -> None:
    assert drawn() == there()


def test_map_is_in_the_order_of_the_layers() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    layers = re.findall(r'^  "shoal\.(\w+)",$', pyproject, re.MULTILINE)
    block = PAGE.read_text().partition("```\nsrc/shoal/\n")[2].partition("```")[0]
    assert [name.removesuffix("/").removesuffix(".py") for name in BRANCH.findall(block)] == layers
