"""Sizes with units, both ways: "4GiB" and 4294967296. Powers of 1024 only, so that no size has two meanings."""

from __future__ import annotations

import re

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
TiB = 1024 * GiB
_UNITS = {"KiB": KiB, "MiB": MiB, "GiB": GiB, "TiB": TiB}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB|TiB)")


def parse_size(text: object) -> int:
    """Bytes of "20GiB". A bare number is refused: bytes, MiB and GiB all have been meant by one."""
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a size; write a number and KiB, MiB, GiB or TiB, such as 20GiB")
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(size_bytes: int) -> str:
    """The shortest text that is exact enough to read: "40 GiB", "1.5 TiB", "512 bytes"."""
    for unit, factor in reversed(_UNITS.items()):
        if size_bytes >= factor:
            number = f"{size_bytes / factor:.1f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{size_bytes} bytes"
