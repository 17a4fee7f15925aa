"""Changes the spec's file: read now, changed, and written whole, so that what a person wrote there meanwhile stays."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shoal.kit.errors import ShoalError
from shoal.kit.files import write_atomically
from shoal.plan.action import Action
from shoal.spec.edit import Edit, apply_edit
from shoal.spec.load import read_spec
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 60.0


async def apply(action: Action, tools: Tools) -> None:  # noqa: ARG001  as all steps
    file, edit = Path(settings.text(action, "file")), _edit(action)

    def change() -> None:
        before = read_spec(file)  # not one that a person is in the middle of; once, so that this one is changed
        write_atomically(file.resolve(), apply_edit(before.text, edit).encode(), mode=file.stat().st_mode & 0o777)

    try:
        await asyncio.to_thread(change)
    except OSError as error:
        raise ShoalError(
            f"cannot write the spec {file}: {error.strerror}", resolution="Make room or correct rights."
        ) from error


async def verify(action: Action, tools: Tools) -> str:  # noqa: ARG001
    text = await asyncio.to_thread(Path(settings.text(action, "file")).read_text)
    return "" if apply_edit(text, _edit(action)) == text else "the change is not in the spec"


def _edit(action: Action) -> Edit:
    edit = action.settings["edit"]
    assert isinstance(edit, dict)
    return Edit(**edit)
