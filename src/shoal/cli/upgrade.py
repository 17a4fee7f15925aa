"""`shoal upgrade`: Ceph of another image, one daemon after the other, without a stop."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from shoal import converge
from shoal.cli import door
from shoal.cli.apply import converse
from shoal.cli.options import Options as CommonOptions
from shoal.cli.plan import plan_to_dict, refuse
from shoal.cli.render import draw_plan, output_console
from shoal.kit.errors import SpecError
from shoal.kit.folders import state_folder
from shoal.spec.load import read_spec
from shoal.spec.versions import image_problem, image_remedy


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options(CommonOptions):
    """What `upgrade` takes."""

    image: Annotated[str | None, Parameter(name="--image", help="Ceph's image; without it the spec's.")] = None


AS_USUAL = Options()


def run(options: Options) -> int:
    document = read_spec(options.file)
    state = state_folder(document.spec.pool.url, options.state)
    image = options.image or document.spec.ceph.image
    options.need_answer("upgrade")
    if why := image_problem(image):
        raise SpecError(why, resolution=image_remedy(image))
    if options.dry_run:
        plan = door.run(converge.plan_upgrade(document, state, image), document)
        if options.json:
            print(json_format.dumps(plan_to_dict(plan, document), indent=2))
        else:
            output_console().print(draw_plan(plan, everything=True))
        if plan.problems:
            refuse(plan, document)
            return door.FAILED
        return door.OK
    return converse(
        lambda talk: converge.upgrade(document, state, image, confirm=talk.confirm, watcher=talk.progress),
        document,
        ask=not options.yes,
        json=options.json,
    )
