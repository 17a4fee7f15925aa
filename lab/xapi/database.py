"""The pool's objects: rows by reference, back references kept, changes counted, saved to one file.

The master's process owns it. No check here is XenAPI's but that a handle is valid.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.xapi.failure import Failure
from lab.xapi.model import KINDS, NULL, Kind, default_value

Row = dict[str, Any]
SAVE_AFTER_S = 0.2  # as xapi's, the file follows a little behind: many changes, one write
DELETIONS_KEPT = 10_000

log = logging.getLogger(__name__)


class Database:
    """Rows of all kinds. Every method is safe to call from any thread."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in KINDS}
        self._pointing: dict[tuple[str, str], dict[str, dict[str, None]]] = {}  # who points at a ref, by field
        self._created: dict[str, int] = {}
        self._modified: dict[str, int] = {}
        self._deleted: deque[tuple[int, str, str, str]] = deque(maxlen=DELETIONS_KEPT)
        self.generation = 0
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._dirty = threading.Event()
        self._saving = threading.Lock()
        for kind in KINDS.values():
            for field in kind.fields.values():
                if field.back:
                    self._pointing[field.type.split()[0], field.back] = {}
        if file is not None and file.exists():
            self._load(json.loads(file.read_text()))
        if file is not None:
            threading.Thread(target=self._save_forever, name="database", daemon=True).start()

    # Reading

    def exists(self, kind: str, ref: str) -> bool:
        return ref in self._rows[kind]

    def refs(self, kind: str) -> list[str]:
        with self.lock:
            return list(self._rows[kind])

    def row(self, kind: str, ref: str) -> Row:
        """A copy of the whole object, back references included."""
        with self.lock:
            stored = self._stored(kind, ref)
            return {name: self._value(KINDS[kind], ref, stored, name) for name in KINDS[kind].fields}

    def rows(self, kind: str) -> dict[str, Row]:
        with self.lock:
            return {ref: self.row(kind, ref) for ref in self._rows[kind]}

    def get(self, kind: str, ref: str, field: str) -> Any:
        with self.lock:
            return self._value(KINDS[kind], ref, self._stored(kind, ref), field)

    def where(self, kind: str, **equal: Any) -> list[str]:
        """References of the objects whose fields are equal to these."""
        with self.lock:
            return [
                ref
                for ref, row in self._rows[kind].items()
                if all(row.get(name) == value for name, value in equal.items())
            ]

    def by_uuid(self, kind: str, wanted: str) -> str:
        for ref in self.where(kind, uuid=wanted):
            return ref
        raise Failure("UUID_INVALID", kind, wanted)

    def only(self, kind: str) -> str:
        """The one object of a kind that has just one: the pool."""
        (ref,) = self.refs(kind)
        return ref

    # Writing

    def create(self, kind: str, values: Row, ref: str | None = None) -> str:
        """Make an object; fields not given get their defaults, uuid a new one."""
        with self.changed:
            ref = ref or f"OpaqueRef:{uuid.uuid4()}"
            row = {name: default_value(field) for name, field in KINDS[kind].fields.items() if not field.back}
            row["uuid"] = values.get("uuid") or str(uuid.uuid4())
            self._rows[kind][ref] = row
            self._created[ref] = self.generation + 1
            self.set(kind, ref, **{name: value for name, value in values.items() if name != "uuid"})
            return ref

    def set(self, kind: str, ref: str, **values: Any) -> None:
        with self.changed:
            row = self._stored(kind, ref)
            for name, value in values.items():
                if KINDS[kind].fields[name].back:
                    raise KeyError(f"{kind}.{name} is a back reference")
                self._point(kind, ref, name, row[name], value)
                row[name] = value
            self._touch(ref)

    def destroy(self, kind: str, ref: str) -> None:
        with self.changed:
            row = self._stored(kind, ref)
            for name, value in row.items():
                self._point(kind, ref, name, value, NULL)
            del self._rows[kind][ref]
            self.generation += 1
            self._deleted.append((self.generation, kind, ref, row["uuid"]))
            self._created.pop(ref, None)
            self._modified.pop(ref, None)
            self._announce()

    def touch(self, kind: str, ref: str) -> None:
        """Tell those who wait for events that this object changed."""
        with self.changed:
            self._stored(kind, ref)
            self._touch(ref)

    # Events

    def since(self, generation: int, kinds: list[str]) -> Iterator[tuple[int, str, str, str, Row | None]]:
        """What happened after a generation: number, kind, ref, add|mod|del, the object (for del: its uuid only)."""
        for number, kind, ref, own in list(self._deleted):
            if number > generation and kind in kinds:
                yield number, kind, ref, "del", {"uuid": own}
        for kind in kinds:
            for ref in self.refs(kind):
                if self._modified.get(ref, 0) > generation:
                    what = "add" if self._created.get(ref, 0) > generation else "mod"
                    yield self._modified[ref], kind, ref, what, self.row(kind, ref)

    # Inside

    def _stored(self, kind: str, ref: str) -> Row:
        try:
            return self._rows[kind][ref]
        except KeyError:
            raise Failure("HANDLE_INVALID", kind, ref) from None

    def _value(self, kind: Kind, ref: str, stored: Row, name: str) -> Any:
        field = kind.fields[name]
        if field.back:
            return list(self._pointing[field.type.split()[0], field.back].get(ref, ()))
        value = stored[name]
        return value.copy() if isinstance(value, list | dict) else value

    def _point(self, kind: str, ref: str, name: str, old: Any, new: Any) -> None:
        index = self._pointing.get((kind, name))
        if index is None or old == new:
            return
        if old in index:
            index[old].pop(ref, None)
            self._touch(old)
        if new != NULL:
            index.setdefault(new, {})[ref] = None
            self._touch(new)

    def _touch(self, ref: str) -> None:
        self.generation += 1
        self._modified[ref] = self.generation
        self._announce()

    def _announce(self) -> None:
        self._dirty.set()
        self.changed.notify_all()

    def _load(self, saved: dict[str, Any]) -> None:
        self.generation = saved["generation"]
        for name, rows in saved["rows"].items():
            for ref, values in rows.items():
                known = {field: value for field, value in values.items() if field in KINDS[name].fields}
                self.create(name, known, ref)

    def save(self) -> None:
        """Write the file now, whole or not at all. Of two threads the later one writes what is newer."""
        if self._file is None:
            return
        with self._saving:
            with self.lock:
                kept = {name: rows for name, rows in self._rows.items() if KINDS[name].persistent}
                text = json.dumps({"generation": self.generation, "rows": kept})
            temporary = self._file.with_name(f"{self._file.name}.tmp.{os.getpid()}")
            temporary.touch(mode=0o600)
            temporary.write_text(text)
            temporary.replace(self._file)

    def _save_forever(self) -> None:
        pause = threading.Event()
        while True:
            self._dirty.wait()
            pause.wait(SAVE_AFTER_S)
            self._dirty.clear()
            try:
                self.save()
            except OSError as error:
                log.error("the database could not be saved: %s", error)
                self._dirty.set()
