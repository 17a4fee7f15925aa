"""docs/how-to/read-a-refusal.md quotes what Shoal really says."""

from __future__ import annotations

import re

import pytest

from tests.workshop.sources import ROOT, python_files

PAGE = ROOT / "docs" / "how-to" / "read-a-refusal.md"
QUOTES = re.findall(r"^\| “(.+?)” \|", PAGE.read_text(), re.MULTILINE)


def said() -> str:
    """All texts of the product's sources, with literals that span lines joined."""
    sources = (ROOT / path for path in python_files() if path.parts[0] == "src")
    return re.sub(r'"\s+f?"', "", "\n".join(source.read_text() for source in sources))


@pytest.mark.parametrize("quote", QUOTES)
def test_quoted_refusal_exists(quote: str) -> None:
    parts = [re.escape(part.strip()) for part in quote.split("…") if part.strip()]
    assert re.search(r"[^\n]*".join(parts), said())


def test_there_are_quotes() -> None:
    assert len(QUOTES) > 5
