"""event: what has changed since a token; waits until something does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from lab.xapi.failure import Failure
from lab.xapi.model import KINDS, kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

EVENT = kind("event", """
    id         new  int                   -
    timestamp  new  datetime              -
    class      new  string                -
    operation  new  enum event_operation  -
    ref        new  string                -
    obj_uuid   new  string                -
    snapshot   run  <class> record        -
    """, persistent=False)  # fmt: skip

INJECTED: dict[str, Any] = {"class": "string", "ref": "string"}  # `class` is no name in Python
WAIT_AT_MOST_S = 60.0


@EVENT.call("an event batch", called="from", classes="string set", token="string", timeout="float")
def from_(context: Context, classes: list[str], token: str, timeout: float) -> dict[str, Any]:
    """`classes`: names, "*", or "class/ref"."""
    watched = _watched()
    wanted = [one.partition("/") for one in classes]
    names = {name.lower() for name, _, _ in wanted}
    kinds = list(watched.values()) if "*" in names else [watched[name] for name in names if name in watched]
    only = {ref for _, _, ref in wanted if ref}
    generation = _parse(token)
    deadline = time.monotonic() + min(timeout, WAIT_AT_MOST_S)
    with context.db.changed:
        while True:
            found = [one for one in context.db.since(generation, kinds) if not only or one[2] in only]
            remaining = deadline - time.monotonic()
            if found or remaining <= 0:
                break
            context.db.changed.wait(remaining)
        if not context.db.exists("session", context.session):
            raise Failure("SESSION_INVALID", context.session)
        counts = {name.lower(): str(len(context.db.refs(name))) for name in kinds}
        new_token = f"{context.db.generation:020d},{0:020d}"
    events = [_event(*one) for one in sorted(found, key=lambda one: one[0])]
    return {"events": events, "valid_ref_counts": counts, "token": new_token}


@EVENT.call("int")
def get_current_id(context: Context) -> int:
    return context.db.generation


@EVENT.call("string", **INJECTED)
def inject(context: Context, class_: str, ref: str) -> str:
    """Make an event of nothing; the token is one that `from` reaches when it has been seen."""
    context.db.touch(_watched().get(class_.lower(), class_), ref)
    return f"{context.db.generation:020d},{0:020d}"


def _watched() -> dict[str, str]:
    """Kinds that have events, by the small letters that events use."""
    return {name.lower(): name for name in KINDS if name not in {"session", "event"}}


def _parse(token: str) -> int:
    if not token:
        return 0
    try:
        return int(token.split(",")[0])
    except ValueError:
        raise Failure("EVENT_FROM_TOKEN_PARSE_FAILURE", token) from None


def _event(number: int, name: str, ref: str, operation: str, row: dict[str, Any] | None) -> dict[str, Any]:
    event: dict[str, Any] = {
        "id": str(number),
        "timestamp": "0.0",
        "class": name.lower(),
        "operation": operation,
        "ref": ref,
        "obj_uuid": row["uuid"] if row else "",
    }
    if operation != "del" and row is not None:
        event["snapshot"] = row
    return event
