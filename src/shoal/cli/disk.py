"""`shoal disk`: virtual disks in and out of the pool's SRs, one at a time."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation
from shoal.cli.errand import Errand
from shoal.cli.options import DEFAULT_SPEC, Basics, Json, SpecFile, StateFolder, Yes, need_answer
from shoal.cli.plan import action_to_dict
from shoal.cli.render import output_console
from shoal.facts import VirtualDisk, VirtualDisks
from shoal.kit.folders import state_folder
from shoal.kit.sizes import format_size
from shoal.observe.virtual_disks import look_at_file
from shoal.plan import disk_export, disk_import, disk_move
from shoal.plan.action import Action, Change, Plan
from shoal.plan.virtual_disk import no_sr, unfinished
from shoal.spec.load import read_spec

Make = Callable[[VirtualDisks], Plan]
Again = Callable[[str, VirtualDisks], Plan]
SrName = Annotated[str, Parameter(name="--sr", help="Name or uuid of an SR.")]


AS_USUAL = Basics()
verbs = App(
    help="Virtual disks in and out of SRs; and the hosts' own disks that Ceph lies on: add, replace, remove.",
    help_format="plaintext",
)


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
    folder = state_folder(document.spec.pool.url, state)
    seen = door.run(converge.look_at_disks(document, folder), document)
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
    """One piece of work on single disks."""

    def __init__(self, options: Basics, *, ask: bool = False) -> None:
        self._errand = Errand(options, ask=ask, describe=_action_to_dict, close=_close)

    def run(self, make: Make, *, again: Again | None = None) -> int:
        """`again` plans once more when all is done, for the disk of this uuid: to say what the pool has now."""
        document, state = self._errand.document, self._errand.state

        async def work(talk: Conversation) -> converge.Result:
            result = await converge.work_on_disks(document, state, make, confirm=talk.confirm, watcher=talk.progress)
            if not again or not result.outcomes or result.failures:
                return result
            (action,) = result.plan.actions
            seen = await converge.look_at_disks(document, state)
            return replace(result, plan=again(str(action.settings["vdi"]), seen))

        return self._errand.run(lambda: make(self._errand.wait(converge.look_at_disks(document, state))), work)


def _close(result: converge.Result, console: Console) -> None:
    for action in result.plan.actions:
        text = action.reason if action.change is Change.NONE else f"done in {result.seconds:.1f} s"
        console.print(Text(text, "bold green"), soft_wrap=True)


def _action_to_dict(action: Action) -> dict[str, object]:
    return {**action_to_dict(action), "vdi": action.settings.get("copy") or action.settings.get("vdi")}


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
