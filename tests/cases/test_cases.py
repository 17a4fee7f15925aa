"""Cases as data: a spec and facts, and all that Shoal says of them, to the letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from shoal.facts import Facts, Partition, Range
from shoal.kit.sizes import GiB, MiB
from shoal.plan.planner import make_plan
from shoal.spec.load import Document, SpecMistakes, parse
from shoal.spec.sources import Surroundings
from tests.model.world import make_facts

HERE = Path(__file__).parent
FILE = Path("shoal.yaml")
BASE = (HERE / "base.yaml").read_text()
EXISTING = (HERE / "existing.yaml").read_text()
SURROUNDINGS = Surroundings(environ={"SHOAL_POOL_PASSWORD": "never shown"})


def cases(name: str) -> list[Any]:
    read = YAML(typ="safe").load((HERE / name).read_text())
    return [pytest.param(case, id=case["name"]) for case in read]


def load(case: Mapping[str, Any], text: str = BASE) -> Document:
    for old, new in case.get("change", {}).items():
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse(text, FILE, SURROUNDINGS)


@pytest.mark.parametrize("case", cases("spec.yaml"))
def test_spec(case: Mapping[str, Any]) -> None:
    with pytest.raises(SpecMistakes) as caught:
        load(case)
    assert list(caught.value.lines) == case["says"]
    assert caught.value.exit_code == 2
    assert "never shown" not in str(caught.getrepr(chain=True))


@pytest.mark.parametrize("case", cases("existing_spec.yaml"))
def test_spec_for_an_existing_cluster(case: Mapping[str, Any]) -> None:
    with pytest.raises(SpecMistakes) as caught:
        load(case, EXISTING)
    assert list(caught.value.lines) == case["says"]


def test_a_spec_for_an_existing_cluster_is_right() -> None:
    assert load({}, EXISTING).spec.ceph.existing


@pytest.mark.parametrize("case", cases("facts.yaml"))
def test_facts(case: Mapping[str, Any]) -> None:
    document = load(case)
    facts: Any = make_facts(3, 2)
    for path, value in case.get("facts", {}).items():
        facts = put(facts, path.split("."), value)
    assert isinstance(facts, Facts)
    plan = make_plan(document.spec, facts)
    assert [document.describe(problem) for problem in plan.problems] == case["says"]
    actions = {action.id: action for action in plan.actions}
    for name, wanted in case.get("plans", {}).items():
        assert f"{actions[name].change}: {actions[name].reason}" == wanted
    for name, settings in case.get("settings", {}).items():
        assert {key: actions[name].settings[key] for key in settings} == settings


def put(value: Any, path: list[str], new: Any) -> Any:
    """The same value with one part of it, however deep, replaced."""
    if not path:
        return plain(new)
    first, *rest = path
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{first: put(getattr(value, first), rest, new)})
    items = list(value)
    items[int(first)] = put(items[int(first)], rest, new)
    return tuple(items)


def plain(new: Any) -> Any:
    if isinstance(new, list):
        return tuple(map(plain, new))
    if isinstance(new, Mapping) and set(new) == {"partition"}:
        return Partition(**{"number": 1, "device": "/dev/sdb1", "range": Range(MiB, 10 * GiB), **new["partition"]})
    return new
