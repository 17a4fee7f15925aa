"""`shoal collect`: a support bundle with no secrets, also of a pool of which half is away."""

from __future__ import annotations

import asyncio
import json
import platform
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from shoal import __version__, converge
from shoal.cli import door
from shoal.cli.plan import plan_to_dict
from shoal.cli.render import output_console
from shoal.facts import Facts
from shoal.kit.errors import ShoalError
from shoal.kit.folders import state_folder
from shoal.kit.redaction import Redactor
from shoal.observe.bundle import Had, Piece, take
from shoal.observe.bundle_file import write_bundle
from shoal.plan.findings import find_faults
from shoal.plan.planner import make_plan
from shoal.spec.load import Document, read_spec

JOURNAL_RUNS = 20


def run(file: Path, state: Path | None, *, output: Path | None) -> int:
    document = read_spec(file)
    folder = state_folder(document.spec.pool.url, state)
    created = datetime.now(UTC)
    target = output or Path(f"shoal-{created:%Y%m%dT%H%M%SZ}.tar.gz")
    if not target.name.endswith(".tar.gz"):
        raise ShoalError(f"{target} is no name for a bundle", resolution="Let it end in .tar.gz.")
    if target.exists():
        raise ShoalError(f"{target} is there already", resolution="Name another file with -o.")
    redactor = Redactor(_own_secrets(document))
    facts, found, remarks = door.run(_collect(document, folder, redactor), document)
    console = output_console()
    write_bundle(target, found, remarks, created.isoformat(timespec="seconds"), redactor)
    missing = [one for one in found if one.missing]
    console.print(f"{target}: {len(found) - len(missing)} files, without secrets as far as they can be told")
    for one in missing:
        why = redactor.redact(one.missing.encode()).decode(errors="replace")[:300]
        console.print(f"  not there: {one.path}: {why}", soft_wrap=True)
    for remark in remarks:
        why = redactor.redact(remark.encode()).decode(errors="replace")[:300]
        console.print(f"  not known, and so not looked for in it: {why}", soft_wrap=True)
    if facts is None:
        console.print("The pool did not answer: what it would say is not in it.")
    console.print("Look through it before you give it away.")
    return door.OK


async def _collect(document: Document, state: Path, redactor: Redactor) -> tuple[Facts | None, list[Had], list[str]]:
    async with converge.collecting(document, state) as collection:
        facts = collection.facts
        for secret in collection.secrets:
            redactor.learn(secret)
        own = _own_pieces(document, state, facts, collection.why_no_facts)
        found = await asyncio.gather(*(take(piece) for piece in (*own, *collection.pieces)))
        return facts, list(found), collection.remarks


def _own_secrets(document: Document) -> list[str]:
    spec = document.spec
    secrets = [spec.pool.password.reveal()]
    if spec.ceph.existing is not None:
        secrets.append(spec.ceph.existing.key.reveal())
    if spec.ssh.key_file is not None and spec.ssh.key_file.is_file():
        secrets.append(spec.ssh.key_file.read_text(errors="replace"))
    return secrets


def _own_pieces(document: Document, state: Path, facts: Facts | None, why: str) -> tuple[Piece, ...]:
    def facts_piece(work: Piece) -> Piece:
        return work if facts is not None else Piece(work.path, _failing(why))

    async def spec() -> bytes:
        return document.file.read_bytes()

    async def versions() -> bytes:
        return json.dumps(
            {"shoal": __version__, "python": platform.python_version(), "platform": platform.platform()}, indent=2
        ).encode()

    async def journal() -> bytes:
        return _read_journal(state / "journal.sqlite")

    async def seen() -> bytes:
        assert facts is not None
        return json.dumps(asdict(facts), indent=2).encode()

    async def faults() -> bytes:
        assert facts is not None
        return json.dumps([asdict(fault) for fault in find_faults(document.spec, facts)], indent=2).encode()

    async def plan() -> bytes:
        assert facts is not None
        return json.dumps(plan_to_dict(make_plan(document.spec, facts), document), indent=2).encode()

    local = (Piece("spec.yaml", spec), Piece("versions.json", versions), Piece("journal.json", journal))
    of_pool = (Piece("facts.json", seen), Piece("status.json", faults), Piece("plan.json", plan))
    return (*local, *(facts_piece(piece) for piece in of_pool))


def _failing(why: str) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        raise ShoalError(why or "the pool did not answer")

    return read


def _read_journal(path: Path) -> bytes:
    """The last runs. Read-only: the file may be in use, and is no business of ours to make."""
    if not path.exists():
        raise ShoalError("there is no journal on this machine")
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
        try:
            database.row_factory = sqlite3.Row
            latest = database.execute("SELECT * FROM run ORDER BY id DESC LIMIT ?", (JOURNAL_RUNS,))
            runs = [dict(row) for row in latest]
            for one in runs:
                rows = database.execute("SELECT * FROM action WHERE run = ? ORDER BY started_at", (one["id"],))
                one["actions"] = [dict(row) for row in rows]
        finally:
            database.close()
    except sqlite3.Error as error:
        raise ShoalError(f"the journal cannot be read: {error}") from error
    return json.dumps(runs, indent=2).encode()
