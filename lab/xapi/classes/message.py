"""message: alerts that the pool keeps for its administrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi.clock import now
from lab.xapi.model import kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

MESSAGE = kind(
    "message",
    """
    uuid       run  string    -
    name       run  string    -
    priority   run  int       -
    cls        run  enum cls  -
    obj_uuid   run  string    -
    timestamp  run  datetime  -
    body       run  string    -
    """,
)


@MESSAGE.call("message ref", name="string", priority="int", cls="enum cls", obj_uuid="string", body="string")
def create(context: Context, name: str, priority: int, cls: str, obj_uuid: str, body: str) -> str:
    values = {"name": name, "priority": priority, "cls": cls, "obj_uuid": obj_uuid, "body": body}
    return context.db.create("message", {**values, "timestamp": now()})


@MESSAGE.call(self="message ref")
def destroy(context: Context, self: str) -> None:
    context.db.destroy("message", self)


@MESSAGE.call(messages="message ref set")
def destroy_many(context: Context, messages: list[str]) -> None:
    for message in messages:
        context.db.destroy("message", message)


@MESSAGE.call("(message ref -> message record) map", since="datetime")
def get_since(context: Context, since: str) -> dict[str, Any]:
    return {ref: row for ref, row in context.db.rows("message").items() if row["timestamp"] >= since}


@MESSAGE.call("(message ref -> message record) map", cls="enum cls", obj_uuid="string", since="datetime")
def get(context: Context, cls: str, obj_uuid: str, since: str) -> dict[str, Any]:
    return {
        ref: row for ref, row in get_since(context, since).items() if row["cls"] == cls and row["obj_uuid"] == obj_uuid
    }
