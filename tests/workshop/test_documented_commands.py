"""The commands that the pages show exist: verbs and options of shoal and shoal-lab, and the Makefile's targets."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from cyclopts import App

from tests.workshop.sources import ROOT, markdown_files

BLOCK = re.compile(r"^(?:```|~~~)(?:sh|console)?\n(.*?)^(?:```|~~~)", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
PROGRAMS = {"shoal": "shoal.cli.program", "shoal-lab": "lab.cli"}
# What a page says by VERB or an ellipsis stands for any.
PLACEHOLDER = re.compile(r"^(…|VERB|[A-Z]+)$")


@cache
def app(program: str) -> App:
    module = import_module(PROGRAMS[program])
    found = [value for value in vars(module).values() if isinstance(value, App)]
    assert len(found) == 1, f"{module.__name__} has no single cyclopts App"
    return found[0]


def verbs(command: App) -> list[str]:
    return [name for name in command if not name.startswith("-")]


def options(command: App) -> set[str]:
    """Every option that a verb takes, and those of the program itself."""
    arguments = command.assemble_argument_collection()
    return {name for argument in arguments for name in argument.names} | {"--help", "-h", "--version"}


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def shown(page: Path) -> Iterator[list[str]]:
    """Every command line in a page, as words; blocks of other languages are left out."""
    content = (ROOT / page).read_text()
    blocks = BLOCK.findall(content)
    rest = re.sub(r"^(```|~~~).*?^\1", "", content, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    for line in (*lines, *INDENTED.findall(rest), *INLINE.findall(rest)):
        line = re.sub(r"[\[\]]", "", line)  # what may be left out
        try:
            words = shlex.split(line.removeprefix("$ "), comments=True)
        except ValueError:
            continue  # prose with an apostrophe
        if words:
            yield words


def split_programs(words: list[str]) -> Iterator[list[str]]:
    """`shoal-lab exec -- shoal status` is two commands."""
    if "--" in words:
        at = words.index("--")
        yield words[:at]
        yield from split_programs(words[at + 1 :])
    else:
        yield words


def mistakes(words: list[str]) -> list[str]:
    """What a command line names that does not exist."""
    program, *rest = words if words else [""]
    program = Path(program).name
    rest = [word for word in rest if word not in {"&&", "\\"}]
    if program == "make":
        return [f"make {word}" for word in rest if re.fullmatch(r"[a-z-]+", word) and word not in make_targets()]
    if program not in PROGRAMS or not rest or rest[0].startswith("-") or PLACEHOLDER.match(rest[0]):
        return []
    command, named = app(program), program
    while verbs(command):
        if not rest or PLACEHOLDER.match(rest[0]):
            return []
        verb, *rest = rest
        named = f"{named} {verb}"
        if verb not in command:
            return [named]
        command = command[verb]
    used = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
    return [f"{named} {option}" for option in sorted(used - options(command))]


@pytest.mark.parametrize("page", markdown_files(), ids=str)
def test_shown_commands_exist(page: Path) -> None:
    found = [mistake for words in shown(page) for part in split_programs(words) for mistake in mistakes(part)]
    assert found == []


def test_every_verb_is_described() -> None:
    for program in PROGRAMS:
        page = (ROOT / "docs" / "reference" / f"{program}.md").read_text()
        named = [f"{program} {verb}" for verb in verbs(app(program)) if not verbs(app(program)[verb])]
        named += [f"{program} {verb} {sub}" for verb in verbs(app(program)) for sub in verbs(app(program)[verb])]
        assert [words for words in named if f"`{words}" not in page] == [], program


def test_a_wrong_command_is_found() -> None:
    assert mistakes(["make", "nonsense"]) == ["make nonsense"]
    assert mistakes([".venv/bin/shoal", "frobnicate"]) == ["shoal frobnicate"]
    assert mistakes(["shoal", "apply", "--frobnicate"]) == ["shoal apply --frobnicate"]
    assert mistakes(["shoal", "disk", "frobnicate"]) == ["shoal disk frobnicate"]
    assert mistakes(["shoal", "disk", "move", "x", "--frobnicate"]) == ["shoal disk move --frobnicate"]
    assert mistakes(["shoal", "disk", "move", "x", "--sr", "y"]) == []
