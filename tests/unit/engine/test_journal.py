"""The journal records runs and actions, and survives being killed in between."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from shoal.engine.journal import Journal
from shoal.engine.outcome import Outcome, State
from shoal.kit.errors import ShoalError
from tests.unit.engine.steps import act


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def test_a_run_with_its_actions(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.sqlite"
    journal = Journal(path)
    journal.begin(shoal_version="1", spec_file=Path("shoal.yaml"))
    journal.started(act("s", "a"))
    journal.progressed(act("s", "a"), "half")
    journal.ended(Outcome(act("s", "a"), State.DONE, 1.23))
    journal.ended(Outcome(act("s", "b"), State.NOT_REACHED, message="waited for s/a"))
    journal.started(act("s", "c"))  # and then the power goes
    journal.close()
    found = rows(path, "SELECT id, change, reason, state, seconds, message FROM action ORDER BY id")
    assert found == [
        ("s/a", "create", "because", "done", 1.2, ""),
        ("s/b", "create", "because", "not reached", 0.0, "waited for s/a"),
        ("s/c", "create", "because", None, None, None),
    ]
    assert rows(path, "SELECT ended_at, outcome FROM run") == [(None, None)]


def test_runs_follow_each_other(tmp_path: Path) -> None:
    for outcome in ("failed", "done"):
        journal = Journal(tmp_path / "journal.sqlite")
        journal.begin(shoal_version="1", spec_file=Path("shoal.yaml"))
        journal.started(act("s", "a"))
        journal.end(outcome)
        last = journal.last_run()
        journal.close()
    assert last is not None
    assert last["outcome"] == "failed"


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_text("something else, and long enough to be taken for a database " * 40)
    with pytest.raises(ShoalError, match="cannot use the journal"):
        Journal(tmp_path / "journal.sqlite")


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite").close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(ShoalError, match="later Shoal"):
        Journal(tmp_path / "journal.sqlite")
