"""The files that the repository holds, for the tests that read sources. Knows nothing of what they say."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """Every file in git's index, relative to the root. What is not committed is nobody's business yet."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout.decode()
    # A file that is deleted but not yet committed is listed too.
    return tuple(Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file())


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
