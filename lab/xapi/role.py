"""Which host a toolstack takes for the pool's master: in a file of its own, on the machine that runs the lab.

xapi has it in dom0's /etc/xensource/pool.conf, where Shoal's keeper reads it: so it is written there, too. A host that
becomes the master goes on with a copy of the last master's database. xapi's members are sent one now and then; here it
is taken from the last master's file, so that nothing is lost that was saved.
"""

from __future__ import annotations

import http.client
import logging
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.xapi.agent import RemoteAgent
    from lab.xapi.dom0 import Dom0
    from lab.xapi.toolstack import Settings

ASK_TIMEOUT_S = 5.0
FILE = "/etc/xensource/pool.conf"  # in dom0
FILE_TIMEOUT_S = 20.0
MASTER = "master"

log = logging.getLogger(__name__)
_in_dom0 = threading.Lock()  # what was so before is not written after what is so now


def read(file: Path, first: str) -> str:
    """The master's name; the pool's first host until something else was said."""
    return (file.read_text().strip() if file.exists() else "") or first


def remember(settings: Settings, master: str) -> None:
    """From the next start on. dom0 is not told: it may not be up."""
    assert settings.role_file is not None
    new = settings.role_file.with_name(f"{settings.role_file.name}.new")
    new.write_text(master)
    new.replace(settings.role_file)


def follow(settings: Settings, dom0: Dom0, master: str) -> None:
    """From the next start on. dom0 is told first: if it cannot be, nothing has changed. Raises OSError."""
    with _in_dom0:
        _write(dom0, _text(settings, master))
        remember(settings, master)


def tell(settings: Settings, dom0: Dom0) -> None:
    """Have dom0's file say what this toolstack goes by; nothing is written if it does. Raises OSError."""
    assert settings.role_file is not None
    with _in_dom0:
        text = _text(settings, read(settings.role_file, settings.master))
        found = dom0.run(["cat", FILE], timeout_s=FILE_TIMEOUT_S)
        if found.code != 0 or found.stdout != text:
            _write(dom0, text)


def leave(dom0: Dom0) -> None:
    """A host that is ejected is the master of a pool of its own. Raises OSError."""
    with _in_dom0:
        _write(dom0, MASTER)


def _text(settings: Settings, master: str) -> str:
    return MASTER if master == settings.host else f"slave:{settings.peers[master].address}"


def _write(dom0: Dom0, text: str) -> None:
    """As a whole, and as xapi: it is there after a power cut."""
    dom0.write(FILE, text)
    done = dom0.run(["sync", FILE], timeout_s=FILE_TIMEOUT_S)
    if done.code != 0:
        raise OSError(f"{dom0.name}: cannot write {FILE}: {done.stderr.strip()}")


def take_database(settings: Settings) -> None:
    """As the last master has left it, for a host that is to be the master from its next start on."""
    last, own = database_of(settings, settings.master), database_of(settings, settings.host)
    if last is not None and own is not None and last.exists():
        shutil.copyfile(last, own)


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
