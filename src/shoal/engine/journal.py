"""A record of what was done, for people. It is never the truth: a plan is made from the facts alone.

No secret gets in here: it holds reasons, states and the briefs of errors only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from shoal.engine.outcome import Outcome
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE run (
    id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, ended_at TEXT, outcome TEXT,
    shoal_version TEXT NOT NULL, spec_file TEXT NOT NULL
);
CREATE TABLE action (
    run INTEGER NOT NULL REFERENCES run(id), id TEXT NOT NULL, change TEXT NOT NULL, reason TEXT NOT NULL,
    started_at TEXT, ended_at TEXT, state TEXT, seconds REAL, message TEXT,
    PRIMARY KEY (run, id)
);
PRAGMA user_version = 1;
"""


class Journal:
    """One sqlite file per pool; readers (`sqlite3`, the dashboard) may look while it is written. It is a Watcher."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(path, isolation_level=None, timeout=10)
            self._database.execute("PRAGMA journal_mode = WAL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.Error as error:
            raise ShoalError(
                f"cannot use the journal {path}: {error}", resolution="Move it away and try again."
            ) from error
        if version > _SCHEMA_VERSION:
            raise ShoalError(f"the journal {path} was written by a later Shoal", resolution="Use that one.")
        self._run = 0

    def begin(self, *, shoal_version: str, spec_file: Path) -> None:
        cursor = self._database.execute(
            "INSERT INTO run (started_at, shoal_version, spec_file) VALUES (?, ?, ?)",
            (_now(), shoal_version, str(spec_file)),
        )
        self._run = cursor.lastrowid or 0

    def end(self, outcome: str) -> None:
        self._database.execute("UPDATE run SET ended_at = ?, outcome = ? WHERE id = ?", (_now(), outcome, self._run))

    def close(self) -> None:
        self._database.close()

    def started(self, action: Action) -> None:
        self._database.execute(
            "INSERT INTO action (run, id, change, reason, started_at) VALUES (?, ?, ?, ?, ?)",
            (self._run, action.id, action.change, action.reason, _now()),
        )

    def progressed(self, action: Action, text: str) -> None:
        """Passing remarks are not recorded."""

    def ended(self, outcome: Outcome) -> None:
        action = outcome.action
        self._database.execute(
            "INSERT INTO action (run, id, change, reason, ended_at, state, seconds, message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (run, id) DO UPDATE SET ended_at = excluded.ended_at, state = excluded.state,"
            " seconds = excluded.seconds, message = excluded.message",
            (
                self._run,
                action.id,
                action.change,
                action.reason,
                _now(),
                outcome.state,
                round(outcome.seconds, 1),
                outcome.message,
            ),
        )

    def last_run(self) -> Mapping[str, object] | None:
        """The run before this one, or None."""
        row = self._database.execute(
            "SELECT id, started_at, ended_at, outcome FROM run WHERE id <> ? ORDER BY id DESC LIMIT 1", (self._run,)
        ).fetchone()
        return dict(zip(("id", "started_at", "ended_at", "outcome"), row, strict=True)) if row else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
