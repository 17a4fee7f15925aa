"""Reads answers that others wrote: every value is taken out with its type, or a NotUnderstood says which is not so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TypeVar

from shoal.kit.errors import ShoalError

Answer = Mapping[str, object]
T = TypeVar("T")


class NotUnderstood(ShoalError):
    """An answer has not the shape that Shoal knows: another version, or something in between."""


def parse(said: str, source: str) -> Answer:
    """JSON with an object at its top."""
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(f"{source} answered no JSON", details=said[:500]) from error
    if not isinstance(answer, dict):
        raise NotUnderstood(f"{source} answered JSON that is no object", details=said[:500])
    return answer


def text(answer: Answer, key: str, default: str | None = None) -> str:
    value = answer.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "a text", value)
    return value


def number(answer: Answer, key: str, default: int | None = None) -> int:
    """A whole number; XenAPI writes them as texts."""
    value = answer.get(key, default)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _wrong(key, "a number", value) from None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(key, "a number", value)
    return value


def real(answer: Answer, key: str, default: float) -> float:
    value = answer.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, "a number", value)
    return float(value)


def flag(answer: Answer, key: str, *, default: bool | None = None) -> bool:
    value = answer.get(key, default)
    if isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise _wrong(key, "true or false", value)


def table(answer: Answer, key: str, default: Answer | None = None) -> Answer:
    value = answer.get(key, default)
    if not isinstance(value, Mapping):
        raise _wrong(key, "an object", value)
    return value


def text_table(answer: Answer, key: str, default: Mapping[str, str] | None = None) -> dict[str, str]:
    found = table(answer, key, default)
    return {name: text(found, name) for name in found}


def texts(answer: Answer, key: str) -> tuple[str, ...]:
    return tuple(_item(item, key, str) for item in _list(answer, key))


def rows(answer: Answer, key: str) -> list[Answer]:
    return [_item(item, key, dict) for item in _list(answer, key)]


def numbers(answer: Answer, key: str) -> list[int]:
    items = _list(answer, key)
    return [number({key: item}, key) for item in items]


def seconds(answer: Answer, key: str) -> list[float]:
    items = _list(answer, key)
    return [float(_item(item, key, float, int)) for item in items]


def _list(answer: Answer, key: str) -> list[object]:
    value = answer.get(key)
    if not isinstance(value, list):
        raise _wrong(key, "a list", value)
    return value


def _item(item: object, key: str, *types: type[T]) -> T:
    if not isinstance(item, types):
        raise _wrong(key, f"a list of {types[0].__name__}", item)
    return item


def _wrong(key: str, wanted: str, value: object) -> NotUnderstood:
    # The type only: what stands there could be a secret.
    seen = "nothing" if value is None else f"a {type(value).__name__}"
    return NotUnderstood(f"{key!r} should be {wanted}, and is {seen}")
