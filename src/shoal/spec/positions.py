"""Where in the file each part of the spec stands, as the YAML parser saw it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

Path = Sequence[str | int]


def split(where: str) -> tuple[str | int, ...]:
    """ "hosts.1.disks" → ("hosts", 1, "disks")."""
    return tuple(int(part) if part.isdigit() else part for part in where.split(".")) if where else ()


def locate(tree: Any, path: Path, *, at_key: bool = False) -> tuple[int, int]:
    """Line and column, from 1, of the value at `path`, or of the nearest part around it that does exist.

    `at_key` wants the key itself, where the value is not to blame.
    """
    line, column = getattr(getattr(tree, "lc", None), "line", 0) or 0, getattr(getattr(tree, "lc", None), "col", 0) or 0
    for depth, part in enumerate(path):
        if isinstance(tree, CommentedMap) and part in tree:
            is_last = depth == len(path) - 1
            line, column = tree.lc.key(part) if at_key and is_last else tree.lc.value(part)
        elif isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
            line, column = tree.lc.item(part)
        else:
            break
        tree = tree[part]
    return line + 1, column + 1


def plain(tree: Any) -> Any:
    """The same values without the parser's own types."""
    if isinstance(tree, dict):
        return {str(key) if isinstance(key, str) else key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    if isinstance(tree, bool):
        return bool(tree)
    for kind in (str, int, float):
        if isinstance(tree, kind):
            return kind(tree)
    return tree
