"""Comments stay where they stand, and lines as they were written, while a YAML text is changed as a tree. Pure.

ruamel.yaml hangs a comment on what stands before it: what stands above a host would go with the host before that one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MARK = "\ue000"  # private use: in no text that a person writes
_MARKED = re.compile(rf" *#?{MARK}(\d+){MARK}$")


def change(text: str, yaml: YAML, edit: Callable[[Any], bool]) -> str:
    """The text with what `edit` does to its tree; `edit` says whether that is anything."""
    tree = yaml.load(text)
    if not edit(tree):
        return text
    plain = _dump(yaml, tree)
    try:
        kept = _change_lines(text.splitlines(), yaml, edit)
        is_same = YAML(typ="safe").load(kept) == YAML(typ="safe").load(plain)
    except YAMLError:
        return plain
    return kept if is_same else plain


def _change_lines(lines: list[str], yaml: YAML, edit: Callable[[Any], bool]) -> str:
    """Each line of the tree has its number at its end meanwhile, which tells where it has gone. "" where that fails."""
    marked = {at: f"{line}  #{MARK}{at}{MARK}" for at, line in enumerate(lines) if not _is_between(line)}
    tree = yaml.load("\n".join(marked.values()))
    before = {_number(line): line for line in _dump(yaml, tree).splitlines()}
    if before.keys() != marked.keys():
        return ""
    edit(tree)
    written: list[str] = []
    behind = 0
    for line in _dump(yaml, tree).splitlines():
        number = _number(line)
        if number is None:
            written.append(line)
            continue
        written += _stays(lines[behind:number])
        written.append(lines[number] if line == before[number] else _MARKED.sub("", line))
        behind = number + 1
    return "\n".join([*written, *_stays(lines[behind:]), ""])


def _is_between(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#") or line.startswith("---")


def _number(line: str) -> int | None:
    found = _MARKED.search(line)
    return int(found[1]) if found else None


def _stays(lines: list[str]) -> list[str]:
    """Of lines between two that stay: what stands inside what has gone goes with it."""
    gone = [at for at, line in enumerate(lines) if not _is_between(line)]
    if not gone:
        return lines
    above, below = lines[: gone[0]], lines[gone[-1] + 1 :]
    is_twice = above and below and not above[-1].strip() and not below[0].strip()
    return [*above, *below[1:]] if is_twice else [*above, *below]


def _dump(yaml: YAML, tree: Any) -> str:
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()
