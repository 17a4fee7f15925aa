"""The calls that XenAPI gives to every kind for each of its fields, and for its records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lab.xapi.failure import Failure, internal_error
from lab.xapi.model import Call, Field, Kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

RECORDLESS = frozenset({"event"})
WITHOUT_ALL = frozenset({"session", "event"})
WITHOUT_FIELD_CALLS = frozenset({"event", "message"})
WITHOUT_NAME = frozenset({"pool"})
EXPRESSION = re.compile(r'\s*field\s+"(\w+)"\s*=\s*"([^"]*)"\s*')


def add_implicit_calls(kind: Kind) -> None:
    """Serve what the data model derives from a kind's fields, but for what its module says itself."""
    made = {}
    if kind.name not in RECORDLESS:
        fields = () if kind.name in WITHOUT_FIELD_CALLS else _field_calls(kind)
        made = {call.name.partition(".")[2]: call for call in (*_record_calls(kind), *fields)}
    kind.calls = {**made, **kind.calls}


def make_call(
    kind: Kind, name: str, result: str, function: Any, *parameters: tuple[str, str], hidden: bool = False
) -> Call:
    return Call(f"{kind.name}.{name}", parameters, result, function, len(parameters), True, hidden, True)


def _record_calls(kind: Kind) -> list[Call]:
    own = kind.name

    def get_record(context: Context, self: str) -> Any:
        return context.db.row(own, self)

    def get_by_uuid(context: Context, uuid: str) -> str:
        return context.db.by_uuid(own, uuid)

    def get_all(context: Context) -> list[str]:
        return context.db.refs(own)

    def get_all_records(context: Context) -> Any:
        return context.db.rows(own)

    def get_all_records_where(context: Context, expr: str) -> Any:
        return select(context, kind, expr)

    def get_by_name_label(context: Context, label: str) -> list[str]:
        return context.db.where(own, name_label=label)

    calls = [
        make_call(kind, "get_record", f"{own} record", get_record, ("self", f"{own} ref")),
        make_call(kind, "get_by_uuid", f"{own} ref", get_by_uuid, ("uuid", "string")),
    ]
    if own not in WITHOUT_ALL:
        records = f"({own} ref -> {own} record) map"
        calls += [
            make_call(kind, "get_all", f"{own} ref set", get_all),
            make_call(kind, "get_all_records", records, get_all_records),
            make_call(
                kind,
                "get_all_records_where",
                records,
                get_all_records_where,
                ("expr", "string"),
                hidden=own != "message",
            ),
        ]
    if "name_label" in kind.fields and own not in WITHOUT_NAME:
        calls.append(make_call(kind, "get_by_name_label", f"{own} ref set", get_by_name_label, ("label", "string")))
    return calls


def select(context: Context, kind: Kind, expression: str) -> dict[str, Any]:
    """The rows that an expression of xapi's query language means; of that language, `true` and one equation."""
    if expression.strip().lower() == "true":
        return context.db.rows(kind.name)
    match = EXPRESSION.fullmatch(expression)
    if match is None or match.group(1) not in kind.fields:
        raise internal_error(f'the lab reads only «field "name" = "value"», not: {expression}')
    name, wanted = match.groups()
    return {ref: row for ref, row in context.db.rows(kind.name).items() if _text(row[name]) == wanted}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _field_calls(kind: Kind) -> list[Call]:
    calls = []
    for field in kind.fields.values():
        calls.append(_getter(kind, field))
        if field.access == "rw":
            calls += _setters(kind, field)
    return calls


def _getter(kind: Kind, field: Field) -> Call:
    def get(context: Context, self: str) -> Any:
        return context.db.get(kind.name, self, field.name)

    return make_call(kind, f"get_{field.name}", field.type, get, ("self", f"{kind.name} ref"))


def _setters(kind: Kind, field: Field) -> list[Call]:
    def set_(context: Context, self: str, value: Any) -> None:
        context.db.set(kind.name, self, **{field.name: value})

    itself = ("self", f"{kind.name} ref")
    calls = [make_call(kind, f"set_{field.name}", "void", set_, itself, ("value", field.type))]
    if field.type.endswith(" map"):
        return calls + _map_setters(kind, field)
    return calls + _set_setters(kind, field) if field.type == "string set" else calls


def _map_setters(kind: Kind, field: Field) -> list[Call]:
    own, name = kind.name, field.name

    def add_to(context: Context, self: str, key: str, value: str) -> None:
        with context.db.lock:  # one step: who adds a key first, has it (MAP_DUPLICATE_KEY is a lock to many clients)
            pairs = context.db.get(own, self, name)
            if key in pairs:
                raise Failure("MAP_DUPLICATE_KEY", own, name, self, key)
            context.db.set(own, self, **{name: {**pairs, key: value}})

    def remove_from(context: Context, self: str, key: str) -> None:
        with context.db.lock:
            pairs = context.db.get(own, self, name)
            if pairs.pop(key, None) is not None:
                context.db.set(own, self, **{name: pairs})

    itself = ("self", f"{own} ref")
    key_type, value_type = field.type.removesuffix(") map").removeprefix("(").split(" -> ")
    return [
        make_call(kind, f"add_to_{name}", "void", add_to, itself, ("key", key_type), ("value", value_type)),
        make_call(kind, f"remove_from_{name}", "void", remove_from, itself, ("key", key_type)),
    ]


def _set_setters(kind: Kind, field: Field) -> list[Call]:
    own, name = kind.name, field.name

    def add(context: Context, self: str, value: str) -> None:
        with context.db.lock:
            members = context.db.get(own, self, name)
            if value not in members:
                context.db.set(own, self, **{name: [*members, value]})

    def remove(context: Context, self: str, value: str) -> None:
        with context.db.lock:
            members = context.db.get(own, self, name)
            if value in members:
                context.db.set(own, self, **{name: [member for member in members if member != value]})

    itself = ("self", f"{own} ref")
    return [
        make_call(kind, f"add_{name}", "void", add, itself, ("value", "string")),
        make_call(kind, f"remove_{name}", "void", remove, itself, ("value", "string")),
    ]
