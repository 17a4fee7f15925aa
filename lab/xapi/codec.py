"""Values of the data model's types on the wire. Inside, an int is an int; on the wire xapi writes ints as strings."""

from __future__ import annotations

from typing import Any
from xmlrpc.client import DateTime

from lab.xapi.failure import Failure
from lab.xapi.model import ENUMS, KINDS


def encode(type_: str, value: Any, *, xml: bool) -> Any:
    """A value as xmlrpc.client.dumps or json.dumps takes it."""
    if type_ == "void":
        return ""
    if type_ == "an event batch":
        return {**value, "events": [_encode_event(event, xml=xml) for event in value["events"]]}
    if type_.endswith(" set"):
        return [encode(type_.removesuffix(" set"), item, xml=xml) for item in value]
    if type_.endswith(" map"):
        of = _map_types(type_)[1]
        return {str(key): encode(of, item, xml=xml) for key, item in value.items()}
    if type_.endswith(" record") and (kind := KINDS.get(type_.removesuffix(" record"))):
        return {name: encode(kind.fields[name].type, item, xml=xml) for name, item in value.items()}
    match type_:
        case "int":
            return str(value)
        case "float":
            return float(value)
        case "datetime":
            return DateTime(value) if xml else value
    return value


def decode(type_: str, value: Any, where: str) -> Any:
    """A value from the wire; FIELD_TYPE_ERROR with `where` if it is not of that type."""
    try:
        return _decode(type_, value)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise Failure("FIELD_TYPE_ERROR", where) from error


def _decode(type_: str, value: Any) -> Any:
    if type_.endswith(" set"):
        if not isinstance(value, list):
            raise TypeError(type_)
        return [_decode(type_.removesuffix(" set"), item) for item in value]
    if type_.endswith(" map"):
        key, of = _map_types(type_)
        return {str(_decode(key, name)): _decode(of, item) for name, item in value.items()}
    match type_:
        case "int":
            return _integer(value)
        case "float":
            return float(value)
        case "bool":
            if not isinstance(value, bool):
                raise TypeError(type_)
            return value
        case "datetime":
            return str(value)
    if type_.endswith(" record"):
        return dict(value)
    return _text(type_, value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError("int")
    return int(value)


def _text(type_: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type_)
    allowed = ENUMS.get(type_.removeprefix("enum ")) if type_.startswith("enum ") else None
    if allowed is not None and value not in allowed:
        raise ValueError(value)
    return value


def _map_types(type_: str) -> tuple[str, str]:
    """ "(string -> (string -> string) map) map" gives "string" and "(string -> string) map"."""
    inner = type_.removesuffix(" map").removeprefix("(").removesuffix(")")
    key, _, of = inner.partition(" -> ")
    return key, of


def _encode_event(event: dict[str, Any], *, xml: bool) -> dict[str, Any]:
    """An event with its snapshot; the class of an event is in small letters."""
    if "snapshot" not in event:
        return event
    (kind,) = (name for name in KINDS if name.lower() == event["class"])
    return {**event, "snapshot": encode(f"{kind} record", event["snapshot"], xml=xml)}
