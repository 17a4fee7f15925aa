"""Records that clients give to `create`: every field that the data model wants at creation, each of its type."""

from __future__ import annotations

from typing import Any

from lab.xapi.codec import decode
from lab.xapi.failure import Failure
from lab.xapi.implicit import make_call
from lab.xapi.model import Kind, default_value


def check_record(kind: Kind, given: dict[str, Any]) -> dict[str, Any]:
    """The values of a new object. A field without a default must be given; one that clients cannot give is left out."""
    values = {}
    for field in kind.fields.values():
        if not field.is_given_at_creation:
            continue
        if field.name in given:
            values[field.name] = decode(field.type, given[field.name], field.name)
        elif field.default is None:
            raise Failure("FIELD_TYPE_ERROR", field.name)
        else:
            values[field.name] = default_value(field)
    return values


def serve_setters(kind: Kind, *names: str, hidden: bool = False) -> None:
    """Explicit calls of xapi that just set a field which is not `rw`."""
    for name in names:
        kind.calls[f"set_{name}"] = make_call(
            kind, f"set_{name}", "void", _setter(kind, name), ("self", f"{kind.name} ref"),
            ("value", kind.fields[name].type), hidden=hidden,
        )  # fmt: skip


def _setter(kind: Kind, name: str) -> Any:
    def set_(context: Any, self: str, value: Any) -> None:
        context.db.set(kind.name, self, **{name: value})

    return set_
