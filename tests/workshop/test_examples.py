"""Every spec in examples/ is one that Shoal takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shoal.spec.load import parse
from shoal.spec.sources import Surroundings
from tests.workshop.sources import ROOT, tracked

EXAMPLES = [path for path in tracked() if path.parts[0] == "examples" and path.suffix == ".yaml"]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_example_is_right(example: Path) -> None:
    text = (ROOT / example).read_text()
    environ = {name: f"/value/of/{name}" for name in re.findall(r"{env: (\w+)}", text)}
    document = parse(text, example, Surroundings(environ=environ))
    assert len(document.spec.hosts) >= document.spec.ceph.replicas


def test_there_are_examples() -> None:
    assert Path("examples/three-hosts.yaml") in EXAMPLES
