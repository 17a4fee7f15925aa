"""Sizes, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kit.sizes import GiB, MiB, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("20GiB", 20 * GiB), ("1.5 TiB", 1536 * GiB), (" 512MiB ", 512 * MiB)]
)
def test_parse(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["20", 20, "20GB", "20G", "-1GiB", "GiB", "1e3GiB", None, True, "２0GiB GiB"])
def test_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(1, 1023), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_there_and_back(number: int, unit: str) -> None:
    assert format_size(parse_size(f"{number}{unit}")) == f"{number} {unit}"


def test_small_ones() -> None:
    assert format_size(0) == "0 bytes"
    assert format_size(1536) == "1.5 KiB"
