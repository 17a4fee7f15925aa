"""Every setting that a step reads is one that its plan gives, with the type that it is read as."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shoal.steps
from shoal.plan.planner import KINDS
from shoal.steps import settings
from tests.model.world import make_facts, make_spec

STEPS = Path(shoal.steps.__file__).parent
READERS = {"text", "number", "flag", "texts", "table", "tables"}  # the optional ones take an absent key, too


def read_keys(kind: str) -> set[tuple[str, str]]:
    """(reader, K) of each `settings.text(action, "K")` in the step's module; ("", K) of `action.settings["K"]`."""
    found = set()
    for node in ast.walk(ast.parse((STEPS / f"{kind}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "settings" and len(node.args) == 2:
                found.add((node.func.attr, ast.literal_eval(node.args[1])))
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "settings":
            found.add(("", ast.literal_eval(node.slice)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_step_reads_is_planned(kind: str) -> None:
    for action in KINDS[kind](make_spec(), make_facts()):
        for reader, key in read_keys(kind):
            assert key in action.settings, f"{action.id} is not given {key!r}"
            if reader:
                getattr(settings, reader)(action, key)  # asserts its type


def test_the_scan_finds_what_is_read() -> None:
    assert {("text", "device"), ("text", "name"), ("flag", "wipe")} <= read_keys("partition")
