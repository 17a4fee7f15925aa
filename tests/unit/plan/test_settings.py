"""Every setting that a step reads is one that its plan gives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shoal.steps
from shoal.plan.planner import KINDS
from tests.model.world import make_facts, make_spec

STEPS = Path(shoal.steps.__file__).parent
READERS = {"text", "number", "flag", "texts", "table", "tables"}  # the optional ones take an absent key


def read_keys(kind: str) -> set[str]:
    """Keys K of `settings.text(action, "K")` and `action.settings["K"]` in the step's module."""
    found = set()
    for node in ast.walk(ast.parse((STEPS / f"{kind}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "settings" and len(node.args) == 2:
                found.add(ast.literal_eval(node.args[1]))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "settings":
            found.add(ast.literal_eval(node.slice))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_step_reads_is_planned(kind: str) -> None:
    for action in KINDS[kind](make_spec(), make_facts()):
        assert read_keys(kind) <= action.settings.keys()


def test_the_scan_finds_what_is_read() -> None:
    assert {"device", "name"} <= read_keys("partition")
