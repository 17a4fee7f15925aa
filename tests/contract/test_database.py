"""The stand-in's database on disk."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.xapi.database import Database


def test_several_may_have_it_saved_at_once(tmp_path: Path) -> None:
    file = tmp_path / "xapi.json"
    database = Database(file)
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(database.save) for _ in range(200)]:
            done.result()
    assert json.loads(file.read_text())["generation"] == database.generation
    assert [each.name for each in tmp_path.iterdir()] == ["xapi.json"]
