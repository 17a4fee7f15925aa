"""The shell that links the container plugin, on a folder of this machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from shoal.steps.container_plugin import LINK


def run(folder: Path) -> Path:
    """The link, after the script ran."""
    own, place = folder / "opt" / "container_plugin.py", folder / "etc" / "plugins" / "xscontainer"
    own.parent.mkdir(exist_ok=True)
    own.touch(0o755)
    subprocess.run(["sh", "-c", LINK, "sh", own, place], check=True, timeout=20)
    return place


def test_the_toolstack_finds_the_plugin(tmp_path: Path) -> None:
    for _ in range(2):
        place = run(tmp_path)
        assert os.path.realpath(place) == str(tmp_path / "opt" / "container_plugin.py")
        assert os.access(place, os.X_OK)


@pytest.mark.parametrize("dangling", [False, True])
def test_a_plugin_of_somebody_elses_stays(tmp_path: Path, dangling: bool) -> None:
    theirs = tmp_path / "etc" / "plugins" / "xscontainer"
    theirs.parent.mkdir(parents=True)
    if dangling:
        theirs.symlink_to("/not/there")
    else:
        theirs.write_text("#!/usr/bin/python2")
    run(tmp_path)
    if dangling:
        assert theirs.readlink() == Path("/not/there")
    else:
        assert theirs.read_text() == "#!/usr/bin/python2"
