"""docs/reference/spec.md names every key of the spec's model, with its default, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shoal.kit.sizes import GiB, format_size
from shoal.spec.model import Spec
from tests.workshop.sources import ROOT

PAGE = ROOT / "docs" / "reference" / "spec.md"
ROW = re.compile(r"^\| `([\w\[\].]+)` \| (.+?) \|", re.MULTILINE)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds: directly, optionally or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(model_in, getattr(annotation, "__args__", ()))), None)


def write_default(field: FieldInfo) -> str:
    """A default as the page writes it."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default in (None, (), {}):
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int) and default >= GiB:
        return f"`{format_size(default).replace(' ', '')}`"
    return f"`{default}`"


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path, default) of every key that holds a value."""
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        is_list = "tuple" in str(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", write_default(field)
        else:
            yield from keys(inner, f"{prefix}{name}{'[]' if is_list else ''}.")


def test_every_key_is_described_with_its_default() -> None:
    assert dict(ROW.findall(PAGE.read_text())) == dict(keys(Spec))
