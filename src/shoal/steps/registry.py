"""Which module carries out which kind of action: the one of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from shoal.plan.planner import KINDS
from shoal.steps.step import Step

STEPS: Mapping[str, Step] = {
    kind: cast(Step, import_module(f"shoal.steps.{kind}")) for kind in KINDS if find_spec(f"shoal.steps.{kind}")
}
