"""`shoal plan`: what would change, and why."""

from __future__ import annotations

import json as json_format
from pathlib import Path

from shoal import converge
from shoal.cli import door
from shoal.cli.render import draw_plan, error_console, output_console
from shoal.kit.folders import state_folder
from shoal.plan.action import Action, Plan
from shoal.spec.load import Document, read_spec


def run(file: Path, state: Path | None, *, json: bool, exit_code: bool, everything: bool) -> int:
    document = read_spec(file)
    plan = door.run(converge.plan(document, state_folder(document.spec.pool.url, state)), document)
    if json:
        print(json_format.dumps(plan_to_dict(plan, document), indent=2))
    else:
        output_console().print(draw_plan(plan, everything=everything))
    if plan.problems:
        refuse(plan, document)
        return door.FAILED
    return door.CHANGES_PLANNED if exit_code and plan.changes else door.OK


def refuse(plan: Plan, document: Document) -> None:
    """Say all that stands in the way."""
    console = error_console()
    for problem in plan.problems:
        console.print(document.describe(problem), soft_wrap=True)
    count = len(plan.problems)
    console.print(f"shoal: {count} problem{'s' if count > 1 else ''}; nothing was touched", style="bold red")


def plan_to_dict(plan: Plan, document: Document) -> dict[str, object]:
    return {
        "actions": [action_to_dict(action) for action in plan.actions],
        "changes": len(plan.changes),
        "problems": [
            {
                "what": problem.what,
                "remedy": problem.remedy,
                "where": problem.where,
                "text": document.describe(problem),
            }
            for problem in plan.problems
        ],
    }


def action_to_dict(action: Action) -> dict[str, object]:
    return {
        "id": action.id,
        "kind": action.kind,
        "target": action.target,
        "host": action.host,
        "change": str(action.change),
        "reason": action.reason,
        "needs": sorted(action.needs),
    }
