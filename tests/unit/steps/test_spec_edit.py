"""The step that changes the spec: what was looked at is what is changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.cli.members import read_change
from shoal.plan import spec_edit as planned
from shoal.spec.edit import ADD_DISK, Edit
from shoal.steps import spec_edit
from shoal.steps.tools import Tools

EXAMPLE = (Path(__file__).parents[3] / "examples" / "three-hosts.yaml").read_text()
NEW = "/dev/disk/by-id/ata-NEW"
EDIT = Edit(ADD_DISK, "xen1", NEW, {"device": NEW, "use": "whole-disk"})


class OtherEachTime:
    """A file that somebody saves between any two looks: good the first time, in the middle of an edit after that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        read, self.reads = Path.read_text, 0

        def read_text(path: Path, *words: Any, **named: Any) -> str:
            text = read(path, *words, **named)
            if path == file:
                self.reads += 1
                if self.reads > 1:
                    return text + "hosts: half of a li"
            return text

        monkeypatch.setattr(Path, "read_text", read_text)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_POOL_PASSWORD", "never shown")
    made = tmp_path / "shoal.yaml"
    made.write_text(EXAMPLE)
    OtherEachTime(monkeypatch, made)
    return made


def test_the_text_that_was_checked_is_the_one_that_is_changed(file: Path) -> None:
    action = planned.plan(file, EDIT, changes=True)
    asyncio.run(spec_edit.apply(action, Tools(SimpleNamespace(), lambda *_: None)))  # type: ignore[arg-type]
    written = file.read_bytes().decode()
    assert NEW in written and "half of a li" not in written


def test_the_text_that_was_checked_is_the_one_that_is_shown(file: Path) -> None:
    change, _ = read_change(file, lambda _: EDIT)
    assert NEW in change.diff and change.before.text == EXAMPLE
