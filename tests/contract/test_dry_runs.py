"""`--dry-run` of the verbs that take the most away: not even the pool's lock is taken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_destroy import COMPARED, Site, all_there_is, shoaled
from tests.contract.test_product_command import run


def changes_since(site: Site, token: str) -> tuple[list[str], str]:
    """What of the pool has changed since then, whatever was put back meanwhile; and the token for now."""
    batch = getattr(site.api.event, "from")([*COMPARED], token, 0.0)
    return [f"{event['operation']} {event['class']} {event['ref']}" for event in batch["events"]], batch["token"]


def dry_run(site: Site, *words: str) -> tuple[Any, Any, list[str], int, str]:
    """All there is before and after it, what changed in between, its exit code, and what it said."""
    before = all_there_is(site)
    _, token = changes_since(site, "")
    code, said = run(site.document.file, *words, "--dry-run")
    changed, _ = changes_since(site, token)
    return before, all_there_is(site), changed, code, said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("destroy", "--wipe", "--with-disks"), 0, "storage VM xen1"),
        (("upgrade", "--image", "quay.io/ceph/ceph:v19.2.3", "--yes"), 1, "Ceph cannot be seen"),
    ],
    ids=["destroy", "upgrade"],
)
async def test_nothing_is_touched(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    async with shoaled(tmp_path) as site:
        before, after, changed, ended, said = await asyncio.to_thread(dry_run, site, *words)
        assert (ended, changed) == (code, []), said
        assert says in said
        assert after == before
