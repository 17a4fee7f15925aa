"""What the Markdown files point at is there: links to files and headings, and paths of the repository in code spans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.workshop.sources import ROOT, markdown_files, tracked

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)

PATH = re.compile(r"`((?:dom0|docs|examples|lab|src|tests|volumes)/[\w./-]*)`")


def links(content: str) -> list[str]:
    """Targets of the inline links outside code blocks, those to other places on the net left out."""
    targets = LINK.findall(FENCE.sub("", content))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(content: str) -> set[str]:
    """The headings' anchors, as code forges make them."""
    headings = HEADING.findall(FENCE.sub("", content))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def find_broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    known = {ROOT / path for path in tracked()}
    known |= {parent for path in known for parent in path.parents}
    broken = []
    for target in links((ROOT / page).read_text()):
        name, _, anchor = target.partition("#")
        file = (ROOT / page.parent / name).resolve() if name else ROOT / page
        if file not in known or (anchor and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    assert find_broken(page) == []


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_named_paths_exist(page: Path) -> None:
    assert [path for path in PATH.findall((ROOT / page).read_text()) if not (ROOT / path).exists()] == []


def test_links_in_code_are_no_links() -> None:
    assert links("[a](b.md#c) `x` ![p](q.svg)\n```\n[no](no.md)\n```\n[net](https://x)") == ["b.md#c", "q.svg"]
    assert anchors("# What `shoal` does, and why\n") == {"what-shoal-does-and-why"}
