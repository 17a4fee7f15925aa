"""`shoal disk`: virtual disks in and out of the pool's SRs, one at a time."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, exit_code, explain, outcome_to_dict
from shoal.cli.options import DEFAULT_SPEC, Basics, Json, SpecFile, StateFolder, Yes, need_answer
from shoal.cli.plan import action_to_dict
from shoal.cli.render import draw_plan, error_console, output_console
from shoal.facts import VirtualDisk, VirtualDisks
from shoal.kit.folders import state_folder
from shoal.kit.sizes import format_size
from shoal.observe.virtual_disks import look_at_file
from shoal.plan import disk_export, disk_import, disk_move
from shoal.plan.action import Change, Plan
from shoal.plan.virtual_disk import no_sr, unfinished
from shoal.spec.load import Document, read_spec

Make = Callable[[VirtualDisks], Plan]
Again = Callable[[str, VirtualDisks], Plan]
SrName = Annotated[str, Parameter(name="--sr", help="Name or uuid of an SR.")]


AS_USUAL = Basics()
verbs = App(help="Move single virtual disks in and out of the pool's SRs.", help_format="plaintext")


@verbs.command(name="list")
def _list(
    *,
    file: SpecFile = DEFAULT_SPEC,
    sr: Annotated[str | None, Parameter(name="--sr", help="Only of this SR; without it of the spec's.")] = None,
    json: Json = False,
    state: StateFolder = None,
) -> int:
    """List the virtual disks of the spec's SRs, or of another one.

    Example: shoal disk list --sr "Local storage"
    """
    document = read_spec(file)
    seen = door.run(converge.look_at_disks(document, _state(document, state)), document)
    names = [sr] if sr else [wanted.name for wanted in document.spec.srs]
    srs = {one.uuid for one in seen.srs if one.name in names or one.uuid in names}
    if sr and not srs:
        return door.refuse((no_sr(seen, sr),))
    disks = [disk for disk in seen.disks if disk.sr in srs]
    if json:
        print(json_format.dumps([_disk_to_dict(disk, seen) for disk in disks], indent=2))
    else:
        output_console().print(_draw(disks, seen))
    return door.OK


@verbs.command(name="import")
def _import(
    image: Path,
    /,
    *,
    sr: SrName,
    name: Annotated[str | None, Parameter(name="--name", help="The disk's name; the file's without it.")] = None,
    options: Basics = AS_USUAL,
) -> int:
    """Make a disk from a raw image. Cut off, the same command goes on where the pool has confirmed the last piece.

    Example: shoal disk import debian.raw --sr shoal --name debian
    """
    work = _Work(options)

    def make(seen: VirtualDisks) -> Plan:
        return disk_import.plan(look_at_file(image), sr, name or image.stem, seen)

    return work.run(make, again=lambda _, seen: make(seen))


@verbs.command(name="export")
def _export(
    disk: str,
    image: Path,
    /,
    *,
    options: Basics = AS_USUAL,
) -> int:
    """Write a disk, named by uuid or name, to a raw image that keeps its holes. Cut off, it begins again.

    Example: shoal disk export debian debian.raw
    """
    work = _Work(options)
    return work.run(lambda seen: disk_export.plan(disk, look_at_file(image), seen))


@verbs.command(name="move")
def _move(
    disk: str,
    /,
    *,
    sr: SrName,
    delete_source: Annotated[
        bool, Parameter(name="--delete-source", negative="", help="Delete the old disk when the VM has the new one.")
    ] = False,
    yes: Yes = False,
    options: Basics = AS_USUAL,
) -> int:
    """Move the disk of a halted VM to another SR. Asks first; the old disk is kept unless told otherwise.

    Example: shoal disk move debian --sr shoal
    """
    need_answer("disk move", is_given=yes or options.dry_run)
    work = _Work(options, ask=not yes)

    def make(name: str, seen: VirtualDisks) -> Plan:
        return disk_move.plan(name, sr, seen, delete_source=delete_source)

    return work.run(lambda seen: make(disk, seen), again=make)


class _Work:
    """One piece of work on disks from the command line: look, plan, say, do, say."""

    def __init__(self, options: Basics, *, ask: bool = False) -> None:
        self._document = read_spec(options.file)
        self._state = _state(self._document, options.state)
        self._json, self._dry_run, self._ask = options.json, options.dry_run, ask
        self._console = error_console() if options.json else output_console()

    def run(self, make: Make, *, again: Again | None = None) -> int:
        """`again` plans once more when all is done, for the disk of this uuid: to say what the pool has now."""
        if self._dry_run:
            seen = door.run(converge.look_at_disks(self._document, self._state), self._document)
            return self._say(converge.Result(make(seen)))
        conversation = Conversation(self._console, ask=self._ask)
        work = converge.work_on_disks(
            self._document, self._state, make, confirm=conversation.confirm, watcher=conversation.progress
        )
        try:
            result = door.run(work, self._document)
        finally:
            conversation.end()
        if again and result.outcomes and not result.failures:
            (action,) = result.plan.actions
            seen = door.run(converge.look_at_disks(self._document, self._state), self._document)
            result = replace(result, plan=again(str(action.settings["vdi"]), seen))
        return self._say(result, refused=conversation.was_refused)

    def _say(self, result: converge.Result, *, refused: bool = False) -> int:
        if self._json:
            print(json_format.dumps(_result_to_dict(result), indent=2))
        if result.plan.problems:
            return door.refuse(result.plan.problems)
        if refused:
            self._console.print("Nothing was touched.")
            return door.FAILED
        for outcome in result.failures:
            explain(outcome)
        if result.failures:
            return exit_code(result)
        if self._dry_run:
            self._console.print(draw_plan(result.plan, everything=True))
            return door.OK
        for action in result.plan.actions:
            text = action.reason if action.change is Change.NONE else f"done in {result.seconds:.1f} s"
            self._console.print(Text(text, "bold green"), soft_wrap=True)
        return door.OK


def _state(document: Document, chosen: Path | None) -> Path:
    return state_folder(document.spec.pool.url, chosen)


def _result_to_dict(result: converge.Result) -> dict[str, object]:
    return {
        "actions": [
            {**action_to_dict(action), "vdi": action.settings.get("copy") or action.settings.get("vdi")}
            for action in result.plan.actions
        ],
        "problems": [{"what": problem.what, "remedy": problem.remedy} for problem in result.plan.problems],
        "outcomes": [outcome_to_dict(outcome) for outcome in result.outcomes.values()],
        "seconds": round(result.seconds, 2),
    }


def _disk_to_dict(disk: VirtualDisk, seen: VirtualDisks) -> dict[str, object]:
    sr = seen.sr(disk.sr)
    return {**asdict(disk), "sr_name": sr.name if sr else "", "unfinished": unfinished(disk)}


def _draw(disks: list[VirtualDisk], seen: VirtualDisks) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("disk", "uuid", "SR", "size", "used", "VM", ""):
        table.add_column(title, no_wrap=title == "uuid")
    for disk in disks:
        sr = seen.sr(disk.sr)
        users = ", ".join(f"{user.vm} ({user.power_state.lower()})" for user in disk.users)
        remark = "snapshot" if disk.is_a_snapshot else unfinished(disk)
        sizes = format_size(disk.size_bytes), format_size(disk.used_bytes)
        table.add_row(disk.name, disk.uuid, sr.name if sr else "", *sizes, users, remark)
    return table
