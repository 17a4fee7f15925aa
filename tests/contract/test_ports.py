"""A port that is taken is nobody else's, though nothing listens there yet."""

from __future__ import annotations

import pytest

from lab.ports import Port


def test_no_port_is_given_twice() -> None:
    taken = [Port() for _ in range(600)]  # by chance alone, some pair would be the same: 600² / 2 pairs, 14,000 ports
    try:
        assert len({port.number for port in taken}) == 600
    finally:
        for port in taken:
            port.give_back()


def test_what_was_given_back_can_be_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Port()
    monkeypatch.setattr("lab.ports.PORTS", [first.number] * 100)
    first.give_back()
    again = Port()
    again.give_back()
    assert again.number == first.number
