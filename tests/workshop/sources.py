"""The files that the repository holds, for the tests that read sources. Knows nothing of what they say."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


# What a checkout holds besides its sources, as .gitignore says.
NOT_SOURCES = frozenset({".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"})


@cache
def tracked() -> tuple[Path, ...]:
    """Every file in git's index, relative to the root: what is not committed is nobody's business yet.

    Without git, or in an unpacked archive, every file that is there.
    """
    if (ROOT / ".git").exists() and shutil.which("git"):
        argv = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
        listing = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, timeout=30).stdout.decode()
        names = [Path(name) for name in listing.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in sorted(ROOT.rglob("*"))]
    # A file that is deleted but not yet committed is listed too.
    return tuple(name for name in names if (ROOT / name).is_file() and not NOT_SOURCES & {*name.parts})


def text(path: Path) -> str | None:
    """The content of a text file; None for a binary one."""
    content = (ROOT / path).read_bytes()
    return None if b"\0" in content else content.decode()


def is_python(path: Path) -> bool:
    """By suffix, or (the SM driver has none) by its first line."""
    if path.suffix:
        return path.suffix == ".py"
    first = (ROOT / path).read_bytes()[:64].splitlines()[:1]
    return bool(first) and first[0].startswith(b"#!") and b"python" in first[0]


@cache
def python_files() -> tuple[Path, ...]:
    return tuple(path for path in tracked() if is_python(path))


@cache
def markdown_files() -> tuple[Path, ...]:
    return tuple(path for path in tracked() if path.suffix == ".md")
