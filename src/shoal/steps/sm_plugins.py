"""The toolstack's whitelist of SR types (`sm-plugins` of xapi.conf). Pure.

xapi reads /etc/xapi.conf and then /etc/xapi.conf.d/* in order; each `sm-plugins` line replaces the one before. So the
file that Shoal adds must repeat what the others say.
"""

from __future__ import annotations

from collections.abc import Iterable

KEY = "sm-plugins"
ALL = "*"


def read_list(text: str) -> tuple[str, ...] | None:
    """The last list in one file; None when it has none."""
    found = None
    for line in text.splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and key.strip() == KEY:
            found = tuple(value.partition("#")[0].split())
    return found


def merge(files: Iterable[str], sr_type: str) -> tuple[str, ...] | None:
    """The whole list with `sr_type` in it, from the files in the order that xapi reads them, without Shoal's own.

    None when nothing needs to be added: no file restricts the types, or all are allowed.
    """
    lists = [found for found in map(read_list, files) if found is not None]
    if not lists or ALL in lists[-1] or sr_type in (name.lower() for name in lists[-1]):
        return None
    return (*lists[-1], sr_type)


def write_file(names: tuple[str, ...]) -> str:
    return f"# Written by Shoal: the list of the files before this one, and Shoal's driver.\n{KEY}={' '.join(names)}\n"
