"""What the verbs for disks and hosts of the pool share: the spec's change is shown, asked about, and carried out."""

from __future__ import annotations

import difflib
import json as json_format
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, conclude, result_to_dict
from shoal.cli.options import Options
from shoal.cli.render import draw_plan, error_console, output_console
from shoal.facts import Facts
from shoal.kit.folders import state_folder
from shoal.plan.action import Plan
from shoal.spec.edit import Edit, apply_edit
from shoal.spec.load import Document, parse, read_spec
from shoal.spec.sources import Surroundings

Make = Callable[[Facts], Plan]
_STYLES = {"+": "green", "-": "red"}


AS_USUAL = Options()


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Taken:
    """What of a new disk is taken, and what it may cost."""

    use: Annotated[
        Literal["free-space", "whole-disk"] | None,
        Parameter(name="--use", help="What of the new disk is taken; a whole disk must be empty."),
    ] = None
    wipe: Annotated[
        bool, Parameter(name="--wipe", negative="", help="DESTROY what lies on the new disk, if anything does.")
    ] = False

    def entry(self, device: str, *, default: str = "") -> dict[str, object]:
        """The keys of the disk in the spec."""
        use = self.use or default
        return {"device": device, **({"use": use} if use else {}), **({"wipe": True} if self.wipe else {})}


NO_WISH = Taken()


@dataclass(frozen=True, slots=True)
class Change:
    """The spec as it is, and as it will be."""

    before: Document
    after: Document
    diff: str

    @property
    def has_diff(self) -> bool:
        return bool(self.diff)


def read_change(file: Path, edit: Callable[[Document], Edit]) -> tuple[Change, Edit]:
    """What the edit would make of the spec. Raises SpecMistakes when that is no spec any more."""
    before = read_spec(file)
    wanted = edit(before)
    new = apply_edit(before.text, wanted)
    lines = difflib.unified_diff(before.text.splitlines(), new.splitlines(), str(file), str(file), lineterm="", n=1)
    after = parse(new, file, Surroundings(folder=file.parent))
    return Change(before, after, "\n".join(lines)), wanted


def work(change: Change, seen_by: Document, make: Make, options: Options) -> int:
    """`seen_by`: the spec that names all hosts concerned, those that come and those that go."""
    console = error_console() if options.json else output_console()
    state = state_folder(seen_by.spec.pool.url, options.state)
    if options.dry_run:
        facts = door.run(converge.look(seen_by, state), seen_by)
        return _say_plan(make(facts), change, console, json=options.json)
    conversation = Conversation(console, ask=not options.yes)

    async def confirm(plan: Plan) -> bool:
        _show(change, console)
        return await conversation.confirm(plan)

    doing = converge.work_on_members(seen_by, state, make, confirm=confirm, watcher=conversation.progress)
    try:
        result = door.run(doing, seen_by)
    finally:
        conversation.end()
    if options.json:
        print(json_format.dumps(result_to_dict(result, change.after), indent=2))
    if result.plan.problems:
        return door.refuse(result.plan.problems)
    return conclude(result, change.after, console, refused=conversation.was_refused)


def _say_plan(plan: Plan, change: Change, console: Console, *, json: bool) -> int:
    if json:
        print(json_format.dumps(result_to_dict(converge.Result(plan), change.after), indent=2))
    if plan.problems:
        return door.refuse(plan.problems)
    _show(change, console)
    console.print(draw_plan(plan))
    return door.OK


def _show(change: Change, console: Console) -> None:
    for line in change.diff.splitlines():
        console.print(Text(line, _STYLES.get(line[:1], "")), soft_wrap=True)
