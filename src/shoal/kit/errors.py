"""The one family of errors that Shoal raises on purpose. The command line turns them into text and an exit code."""

from __future__ import annotations

BRIEF_MAX, DETAILS_MAX = 2_000, 20_000
"""Characters: what another machine said may be in them, without end."""


class ShoalError(Exception):
    """Something went wrong that a person can act on.

    `brief` is one sentence; `details` is what was seen; `resolution` says what to do next; `doc` names a page in docs/.
    None of them ever holds a secret. `where` is a path in the spec ("pool.password") when the cause stands there.
    """

    exit_code = 1

    def __init__(self, brief: str, *, details: str = "", resolution: str = "", doc: str = "", where: str = "") -> None:
        brief = brief if len(brief) <= BRIEF_MAX else f"{brief[:BRIEF_MAX]}…"
        super().__init__(brief)
        self.brief = brief
        self.details = details if len(details) <= DETAILS_MAX else f"…{details[-DETAILS_MAX:]}"
        self.resolution = resolution
        self.doc = doc
        self.where = where


class SpecError(ShoalError):
    """The spec is wrong; nothing was touched."""

    exit_code = 2


class TemporaryError(ShoalError):
    """It may work if tried again: a time-out, a connection refused, something that is still starting."""
