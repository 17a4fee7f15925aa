"""Names say what a thing is: no drawer for odds and ends, no path of the machine that somebody wrote it on."""

from __future__ import annotations

import re
from pathlib import Path

from tests.workshop.sources import ROOT, python_files, text, tracked

DRAWERS = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools"})
# `steps/tools.py` holds the class Tools, what every step is handed; it is no drawer.
NOT_A_DRAWER = frozenset({"src/shoal/steps/tools.py"})

# Folders that every Debian has: a clone directly in one of them tells nothing of the machine.
STANDARD_FOLDERS = frozenset(
    f"/{name}" for name in ("", "bin", "etc", "home", "media", "mnt", "opt", "root", "run", "srv", "tmp", "usr", "var")
)


def mentions(content: str, folder: Path) -> bool:
    """Whether a text names a folder or something in it, as a whole path."""
    return re.search(rf"(?<![\w./~-]){re.escape(str(folder))}(?![\w.-])", content) is not None


def test_no_module_is_a_drawer() -> None:
    found = [
        str(path)
        for path in python_files()
        if str(path) not in NOT_A_DRAWER and DRAWERS & {path.stem.strip("_"), *path.parts[:-1]}
    ]
    assert found == []


def test_no_file_names_this_machine() -> None:
    folders = [folder for folder in (ROOT, ROOT.parent) if str(folder) not in STANDARD_FOLDERS]
    contents = {path: text(path) or "" for path in tracked()}
    found = [str(path) for path, content in contents.items() if any(mentions(content, folder) for folder in folders)]
    assert found == [], f"{folders} exist on this machine only"


def test_a_path_is_told_from_a_longer_one() -> None:
    assert mentions("cd /ci/build && make", Path("/ci"))
    assert mentions("`/ci/build`", Path("/ci/build"))
    assert not mentions("/var/ci/build and ./ci and /cinema", Path("/ci"))
