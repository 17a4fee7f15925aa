"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

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
