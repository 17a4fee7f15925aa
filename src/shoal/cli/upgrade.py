"""`shoal upgrade`: Ceph of another image, one daemon after the other, without a stop."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import Conversation, conclude, result_to_dict
from shoal.cli.options import DEFAULT_SPEC, Json, SpecFile, StateFolder
from shoal.cli.plan import plan_to_dict, refuse
from shoal.cli.render import draw_plan, error_console, output_console
from shoal.kit.errors import ShoalError
from shoal.kit.folders import state_folder
from shoal.spec.load import read_spec


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options:
    """What `upgrade` takes."""

    file: SpecFile = DEFAULT_SPEC
    image: Annotated[str | None, Parameter(name="--image", help="Ceph's image; without it the spec's.")] = None
    dry_run: Annotated[
        bool, Parameter(name="--dry-run", negative="", help="Say what would be done, and do nothing.")
    ] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False
    json: Json = False
    state: StateFolder = None


AS_USUAL = Options()


def run(options: Options) -> int:
    document = read_spec(options.file)
    state = state_folder(document.spec.pool.url, options.state)
    image = options.image or document.spec.ceph.image
    console = error_console() if options.json else output_console()
    if options.dry_run:
        plan = door.run(converge.plan_upgrade(document, state, image), document)
        if options.json:
            print(json_format.dumps(plan_to_dict(plan, document), indent=2))
        else:
            console.print(draw_plan(plan, everything=True))
        if plan.problems:
            refuse(plan, document)
            return door.FAILED
        return door.OK
    if not options.yes and not sys.stdin.isatty():
        raise ShoalError(
            "upgrade asks before it changes anything, and nobody can answer here",
            resolution="Say --yes, or look at it with --dry-run first.",
        )
    conversation = Conversation(console, ask=not options.yes)
    work = converge.upgrade(document, state, image, confirm=conversation.confirm, watcher=conversation.progress)
    try:
        result = door.run(work, document)
    finally:
        conversation.end()
    if options.json:
        print(json_format.dumps(result_to_dict(result, document), indent=2))
    return conclude(result, document, console, refused=conversation.was_refused)
