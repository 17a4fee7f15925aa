"""Reads an action's settings with their types. A setting that is missing or of another type is a bug of ours."""

from __future__ import annotations

from collections.abc import Mapping

from shoal.plan.action import Action


def text(action: Action, key: str) -> str:
    value = action.settings[key]
    assert isinstance(value, str), _wrong(action, key, value)
    return value


def number(action: Action, key: str) -> int:
    value = action.settings[key]
    assert isinstance(value, int) and not isinstance(value, bool), _wrong(action, key, value)
    return value


def flag(action: Action, key: str) -> bool:
    value = action.settings[key]
    assert isinstance(value, bool), _wrong(action, key, value)
    return value


def optional_number(action: Action, key: str) -> int | None:
    return None if action.settings.get(key) is None else number(action, key)


def optional_text(action: Action, key: str) -> str:
    """The text, or "" when there is none."""
    return "" if action.settings.get(key) is None else text(action, key)


def texts(action: Action, key: str) -> tuple[str, ...]:
    value = action.settings[key]
    assert isinstance(value, list | tuple), _wrong(action, key, value)
    return tuple(str(item) for item in value)


def table(action: Action, key: str) -> dict[str, str]:
    value = action.settings[key]
    assert isinstance(value, Mapping), _wrong(action, key, value)
    return {str(name): str(item) for name, item in value.items()}


def tables(action: Action, key: str) -> tuple[dict[str, str], ...]:
    value = action.settings[key]
    assert isinstance(value, list | tuple), _wrong(action, key, value)
    return tuple({str(name): str(item) for name, item in row.items()} for row in value)


def _wrong(action: Action, key: str, value: object) -> str:
    return f"{action.id}: setting {key!r} is a {type(value).__name__}"
