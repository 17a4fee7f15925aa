"""Files that are never half-written, and where Shoal keeps its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.kit.files import write_atomically
from shoal.kit.folders import state_folder


def test_it_replaces_with_the_mode_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    write_atomically(path, b"old")
    write_atomically(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]


def test_a_failure_leaves_the_old_content_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "x").touch()
    with pytest.raises(OSError, match="folder"):
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_each_pool_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, other = (state_folder(url, environ={"XDG_STATE_HOME": str(tmp_path)}) for url in ("https://a", "https://b"))
    assert one != other
    assert one.parent == tmp_path / "shoal"
    assert state_folder("https://a/", environ={"SHOAL_STATE": "/s"}) == Path("/s") / one.name
    assert state_folder("https://a", Path("/chosen"), environ={"SHOAL_STATE": "/s"}) == Path("/chosen") / one.name
