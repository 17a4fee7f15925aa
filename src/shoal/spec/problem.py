"""One reason why Shoal refuses: what, where in the spec, and what to do. A value; it knows of no file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Why Shoal refuses. `where` is a path in the spec ("hosts.1.disks.0.device") for file:line:column, or ""."""

    what: str
    remedy: str
    where: str = ""
