"""The cache of images: a thing is built once per recipe, whole or not at all, by one process at a time.

Must not know what an image holds.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def key(recipe: object) -> str:
    """Names a recipe: anything JSON can say, files by their content."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:12]


def cached(cache: Path, name: str, recipe: object, make: Callable[[Path], None]) -> Path:
    """The folder `name-KEY` in the cache; `make` fills an empty one if there is none. `cache/name` links to it."""
    folder = cache / f"{name}-{key(recipe)}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second builder waits and finds it done
        if not folder.exists():
            for leftover in cache.glob(f"{name}-*.tmp.*"):
                shutil.rmtree(leftover)
            new = cache / f"{folder.name}.tmp.{os.getpid()}"
            new.mkdir()
            make(new)
            new.rename(folder)
        _link(cache / name, folder)
    return folder


def _link(link: Path, folder: Path) -> None:
    new = link.with_name(f"{link.name}.tmp.{os.getpid()}")
    new.symlink_to(folder.name)
    new.replace(link)
