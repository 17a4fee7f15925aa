"""`shoal destroy`: everything back as it was before Shoal."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, converse
from shoal.cli.options import Options as CommonOptions
from shoal.cli.plan import plan_to_dict, refuse
from shoal.cli.render import draw_plan, output_console
from shoal.facts import Remains
from shoal.kit.errors import ShoalError
from shoal.kit.folders import state_folder
from shoal.plan.action import Plan
from shoal.plan.destroy import planner
from shoal.spec.load import Document, read_spec


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options(CommonOptions):
    """What `destroy` takes."""

    pool: Annotated[
        str | None, Parameter(name="--pool", help="The pool's name, instead of typing it in when asked.")
    ] = None
    wipe: Annotated[
        bool, Parameter(name="--wipe", negative="", help="Also remove the OSDs' partitions, with all data on them.")
    ] = False
    with_disks: Annotated[
        bool, Parameter(name="--with-disks", negative="", help="Also lose the virtual disks on the shared SRs.")
    ] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Not enough here: see --pool.")] = False


AS_USUAL = Options()


def run(options: Options) -> int:
    document = read_spec(options.file)
    state = state_folder(document.spec.pool.url, options.state)
    losses = planner.Options(wipe=options.wipe, with_disks=options.with_disks)
    if options.dry_run:
        return _show(document, state, losses, json=options.json)
    if options.pool is None and (options.yes or not sys.stdin.isatty()):
        raise ShoalError(
            "destroy wants the pool's name typed in, and --yes does not stand for it",
            resolution="Say --pool NAME with the name of the pool, or look at it with --dry-run first.",
        )
    return _carry_out(document, state, losses, options)


def _show(document: Document, state: Path, losses: planner.Options, *, json: bool) -> int:
    seen = door.run(converge.look_at_what_is_left(document, state), document)
    plan = planner.make_plan(document.spec, seen, losses)
    if json:
        print(json_format.dumps(plan_to_dict(plan, document), indent=2))
    else:
        output_console().print(draw_plan(plan))
    if plan.problems:
        refuse(plan, document)
        return door.FAILED
    return door.OK


def _carry_out(document: Document, state: Path, losses: planner.Options, options: Options) -> int:
    def destroy(talk: Conversation) -> Coroutine[Any, Any, converge.Result]:
        async def confirm(seen: Remains, plan: Plan) -> bool:
            name = name_of(seen)
            if options.pool is not None and options.pool not in (name, seen.pool.uuid):
                raise ShoalError(
                    f"the pool is called {name!r}, not {options.pool!r}; nothing was touched",
                    resolution="Check that `pool.url` in the spec is the pool that you mean.",
                )
            question = f"All this goes. Type the pool's name, {name}, to go on: "
            return await talk.confirm(plan, question=question, answer=name)

        return converge.destroy(document, state, losses, confirm=confirm, watcher=talk.progress)

    return converse(destroy, document, ask=options.pool is None, json=options.json)


def name_of(seen: Remains) -> str:
    """A pool may have no name; then its uuid is what is typed in."""
    return seen.pool.name or seen.pool.uuid
