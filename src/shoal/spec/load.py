"""From a file to a Spec, or to all that is wrong with it at once, each with file:line:column."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from shoal.kit.errors import SpecError
from shoal.spec import positions
from shoal.spec.check import check
from shoal.spec.model import Spec
from shoal.spec.problem import Problem
from shoal.spec.sources import Surroundings

# What pydantic says, in the words of someone who writes YAML: type of error → (what, remedy).
_WORDS = {
    "missing": ("this key is missing", "add it"),
    "string_type": ("expected a text", "write a text; quote it if it looks like a number"),
    "int_type": ("expected a whole number", "write it without quotes and unit"),
    "bool_type": ("expected true or false", "write true or false, without quotes"),
    "bool_parsing": ("expected true or false", "write true or false, without quotes"),
    "tuple_type": ("expected a list", "start each item with '- '"),
    "model_type": ("expected keys with values", "write 'key: value' pairs"),
    "model_attributes_type": ("expected keys with values", "write 'key: value' pairs"),
    "dict_type": ("expected keys with values", "write 'key: value' pairs"),
    "too_short": ("the list is empty", "write at least one item"),
    "string_too_short": ("the text is empty", "write a value or leave the key out"),
}
_PATTERNS = {
    "url": ("not the address of a pool", "write https://ADDRESS, the pool master's"),
    "device": ("not a stable name of a disk", "use a name under /dev/disk/by-id/, which survives a reboot"),
    "fsid": ("not the id of a Ceph cluster", "ceph fsid prints it"),
    "fingerprint": ("not a fingerprint", "write sha256: and 64 hexadecimal digits"),
    "name": ("not a host name", "use letters, digits and '-'"),
    "pool": ("not a name of a Ceph pool", "use letters, digits, '.', '_' and '-'"),
    "data_pool": ("not a name of a Ceph pool", "use letters, digits, '.', '_' and '-'"),
    "namespace": ("not a name of an RBD namespace", "use letters, digits, '.', '_' and '-'"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """A spec and the file that it was read from: where each part stands, and the text, for who changes it."""

    spec: Spec
    file: Path
    tree: Any
    text: str

    def describe(self, problem: Problem) -> str:
        return _describe(self.file, self.tree, problem, at_key=False)


class SpecMistakes(SpecError):
    """All mistakes of a spec, one line each."""

    def __init__(self, file: Path, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        count = f"{len(self.lines)} mistakes" if len(self.lines) > 1 else "a mistake"
        super().__init__(
            f"{file} has {count}; nothing was touched",
            details="\n".join(self.lines),
            resolution="Mend the spec and run the same command again.",
        )


def read_spec(file: Path) -> Document:
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise SpecError(
            f"cannot read the spec {file}: {why}", resolution="Name it with -f FILE; examples/ has some to start from."
        ) from error
    return parse(text, file, Surroundings(folder=file.parent))


def parse(text: str, file: Path, surroundings: Surroundings) -> Document:
    """Read `text` as the content of `file`. Raises SpecMistakes with every mistake found."""
    tree = _parse_yaml(text, file)
    try:
        spec = Spec.model_validate(positions.plain(tree), context=surroundings)
    except ValidationError as error:
        raise SpecMistakes(file, _lines_of(error, file, tree)) from None  # its text would show values
    document = Document(spec, file, tree, text)
    found = check(spec)
    if found:
        raise SpecMistakes(file, map(document.describe, found))
    return document


def _parse_yaml(text: str, file: Path) -> Any:
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        tree = yaml.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise SpecMistakes(file, [f"{place}: {_yaml_words(error)}"]) from None  # its text may quote a secret
    except YAMLError as error:
        raise SpecMistakes(file, [f"{file}:1:1: this is not YAML ({type(error).__name__})"]) from None
    if not isinstance(tree, dict):
        raise SpecMistakes(
            file, [f"{file}:1:1: expected keys with values (examples/three-hosts.yaml shows a whole spec)"]
        )
    return tree


def _yaml_words(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "")
    duplicate = re.match(r'found duplicate key "([^"]*)"', problem)
    if duplicate:
        return f"{duplicate[1]}: this key stands here twice (remove one of them)"
    return f"this is not YAML: {problem} (look at quotes, colons and indentation)"


def _lines_of(error: ValidationError, file: Path, tree: Any) -> list[str]:
    found: dict[tuple[str | int, ...], tuple[int, int, str]] = {}
    details = error.errors(include_url=False)
    within = {tuple(detail["loc"][:depth]) for detail in details for depth in range(len(detail["loc"]))}
    for detail in details:
        path = tuple(detail["loc"])
        if detail["type"] == "too_short" and path in within:
            continue  # pydantic counts only the items that are right; the wrong ones are reported themselves
        at_key = detail["type"] == "extra_forbidden"
        problem = _problem_of(detail)
        found[path] = (*positions.locate(tree, path, at_key=at_key), _describe(file, tree, problem, at_key=at_key))
    return [line for *_, line in sorted(found.values())]


def _problem_of(detail: ErrorDetails) -> Problem:
    path = tuple(detail["loc"])
    where = ".".join(map(str, path))
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        what, _, remedy = str(context["error"]).partition("; ")
        return Problem(what, remedy, where)
    if kind == "extra_forbidden":
        return Problem(f'unknown key "{path[-1]}"', _suggest(path), where)
    if kind == "literal_error":
        return Problem("not one of the possible values", f"write {context['expected']}", where)
    if kind == "string_pattern_mismatch":
        what, remedy = _PATTERNS[str(path[-1])]
        return Problem(what, remedy, where)
    if kind in _WORDS:
        what, remedy = _WORDS[kind]
        return Problem(what, remedy, where)
    return Problem(detail["msg"][:1].lower() + detail["msg"][1:], "see docs/reference/spec.md", where)


def _suggest(path: tuple[str | int, ...]) -> str:
    known = _keys_at(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    return f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"


def _keys_at(path: tuple[str | int, ...]) -> list[str]:
    """The keys that the model at `path` has."""
    model: type[BaseModel] = Spec
    for part in path:
        if isinstance(part, str):
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found:
            return found
    return None


def _describe(file: Path, tree: Any, problem: Problem, *, at_key: bool) -> str:
    remedy = f" ({problem.remedy})" if problem.remedy else ""
    if not problem.where:
        return f"{file}: {problem.what}{remedy}"
    line, column = positions.locate(tree, positions.split(problem.where), at_key=at_key)
    return f"{file}:{line}:{column}: {problem.where}: {problem.what}{remedy}"
