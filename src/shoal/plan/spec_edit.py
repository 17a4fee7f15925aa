"""The spec's file is changed, as a step of the work that the change goes with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from shoal.plan.action import Action, Change
from shoal.spec.edit import Edit

ID = "spec_edit/spec"


def plan(file: Path, edit: Edit, *, changes: bool, after: frozenset[str] = frozenset()) -> Action:
    settings = {"file": str(file), "edit": asdict(edit)}
    if not changes:
        return Action("spec_edit", "spec", Change.NONE, f"{file} says so already", needs=after, settings=settings)
    reason = f"{edit.what} in {file}"
    return Action("spec_edit", "spec", Change.UPDATE, reason, needs=after, settings=settings)
