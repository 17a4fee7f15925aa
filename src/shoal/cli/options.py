"""Options that several verbs share.

Without `from __future__ import annotations`: verbs derive their own from `Options`, and the names in its annotations
would then be looked up in their modules.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from shoal.kit.errors import ShoalError

SpecFile = Annotated[Path, Parameter(name=["-f", "--file"], help="The spec.")]
StateFolder = Annotated[
    Path | None,
    Parameter(
        name="--state", help="Folder for journal and pinned keys, instead of $SHOAL_STATE or ~/.local/state/shoal."
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of text.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Say what would be done, and do nothing.")]
DEFAULT_SPEC = Path("shoal.yaml")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Basics:
    """What all verbs take that change something."""

    file: SpecFile = DEFAULT_SPEC
    dry_run: DryRun = False
    json: Json = False
    state: StateFolder = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Options(Basics):
    """And ask before."""

    yes: Yes = False

    def need_answer(self, verb: str) -> None:
        need_answer(verb, is_given=self.yes or self.dry_run)


def need_answer(verb: str, *, is_given: bool) -> None:
    if not (is_given or sys.stdin.isatty()):
        raise ShoalError(
            f"{verb} asks before it changes anything, and nobody can answer here",
            resolution="Say --yes, or look at it with --dry-run first.",
        )
