"""The one door out of the program: turns whatever ended it into text for a person and an exit code.

0 ok · 1 failed · 2 bad spec or command line · 3 a bug of ours · 10 changes planned · 130 interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from cyclopts import CycloptsError
from rich.text import Text

from shoal import __version__
from shoal.cli.render import error_console
from shoal.kit.errors import ShoalError
from shoal.kit.redaction import Redactor
from shoal.spec.load import Document, SpecMistakes
from shoal.spec.problem import Problem

OK, FAILED, BAD_SPEC, BUG, CHANGES_PLANNED, INTERRUPTED = 0, 1, 2, 3, 10, 130
Value = TypeVar("Value")


class Interrupted(ShoalError):
    """Somebody pressed ^C, or the system ends."""

    exit_code = INTERRUPTED


def leave(program: Callable[[], int | None]) -> int:
    try:
        return program() or OK
    except CycloptsError as error:
        _say(f"{error}", "See shoal --help.")
        return BAD_SPEC
    except ShoalError as error:
        show_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python must not stumble over it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001  the last door: what gets here is a bug
        show_bug(error)
        return BUG


def run(work: Coroutine[None, None, Value], document: Document) -> Value:
    """Run the asynchronous part of a verb. SIGINT and SIGTERM cancel it, so that it can let go of the lock first."""

    async def whole() -> Value:
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(whole())
    except asyncio.CancelledError:
        raise Interrupted(
            "interrupted", resolution="Run the same command again: it goes on where it stopped."
        ) from None
    except ShoalError as error:
        if error.where:  # the cause stands in the spec: say where
            error.brief = document.describe(Problem(error.brief, "", error.where))
        raise


def refuse(problems: Sequence[Problem]) -> int:
    """Say what stands in the way, of work that no place in the spec asks for."""
    for problem in problems:
        text = Text.assemble(("shoal: ", "bold red"), problem.what, (f"  → {problem.remedy}", "dim"))
        error_console().print(text, soft_wrap=True)
    return FAILED


def show_error(error: ShoalError) -> None:
    if isinstance(error, SpecMistakes):
        for line in error.lines:  # as compilers write them, so that editors find the place
            error_console().print(Text(line), soft_wrap=True)
        _say(error.brief)
        return
    _say(error.brief, error.details, error.resolution)


def show_bug(error: BaseException) -> None:
    """Write a report without secrets (no values of variables, no environment, no arguments) and say where it lies."""
    lines = [
        f"shoal {__version__}, Python {platform.python_version()}, {platform.platform()}",
        "",
        *traceback.format_exception(error, chain=True),
    ]
    # Its own words may quote what it failed on.
    text = Redactor().redact("\n".join(lines).encode(errors="replace")).decode(errors="replace")
    report: str | None = None
    with contextlib.suppress(OSError):
        descriptor, report = tempfile.mkstemp(prefix="shoal-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
    where = f"{Path(report)} holds a report without secrets: please attach it to an issue." if report else text
    _say(f"this is a bug in Shoal: {type(error).__name__}", where)


def _say(brief: str, *more: str) -> None:
    console = error_console()
    console.print(Text.assemble(("shoal: ", "bold red"), brief), soft_wrap=True)
    for text in more:
        for line in text.splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
