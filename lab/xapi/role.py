"""Which host a toolstack takes for the pool's master: in a file of its own, as xapi has it in /etc/xensource/pool.conf.

A host that becomes the master goes on with a copy of the last master's database. xapi's members are sent one now and
then; here it is taken from the last master's file, so that nothing is lost that was saved.
"""

from __future__ import annotations

import http.client
import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.xapi.agent import RemoteAgent
    from lab.xapi.toolstack import Settings

ASK_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


def read(file: Path, first: str) -> str:
    """The master's name; the pool's first host until something else was said."""
    return (file.read_text().strip() if file.exists() else "") or first


def follow(settings: Settings, master: str) -> None:
    """From the next start on."""
    assert settings.role_file is not None
    new = settings.role_file.with_name(f"{settings.role_file.name}.new")
    new.write_text(master)
    new.replace(settings.role_file)


def become_master(settings: Settings) -> None:
    """From the next start on, with the database as the last master has left it."""
    last, own = database_of(settings, settings.master), database_of(settings, settings.host)
    if last is not None and own is not None and last.exists():
        shutil.copyfile(last, own)
    follow(settings, settings.host)


def database_of(settings: Settings, host: str) -> Path | None:
    """Each host that was ever master has a file: one that is cut off goes on writing to its own."""
    if settings.database is None or host == next(iter(settings.peers)):
        return settings.database
    return settings.database.with_name(f"{settings.database.stem}-{host}{settings.database.suffix}")


def find_other_master(settings: Settings, remotes: Mapping[str, RemoteAgent]) -> str:
    """A master that starts asks the others whether one of them is; then it is a member, as xapi has it. "" for none."""

    def ask(name: str) -> bool:
        try:
            return bool(remotes[name].call("role", ASK_TIMEOUT_S) == name)
        except (OSError, http.client.HTTPException) as error:
            log.info("%s does not say whether it is the master: %s", name, error)
            return False

    others = [name for name in settings.peers if name != settings.host]
    with ThreadPoolExecutor(max_workers=max(1, len(others))) as threads:
        answers = list(threads.map(ask, others))
    return next((name for name, is_master in zip(others, answers, strict=True) if is_master), "")
