"""secret: values that device_config must not show. xapi moves passwords there by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab.xapi.model import kind

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

SECRET = kind(
    "secret",
    """
    uuid          run  string                  -
    value         rw   string                  -
    other_config  rw   (string -> string) map  {}
    """,
)


@SECRET.call("secret ref", args="secret record")
def create(context: Context, args: dict[str, Any]) -> str:
    return context.db.create("secret", {"value": args["value"], "other_config": args.get("other_config", {})})


@SECRET.call(self="secret ref")
def destroy(context: Context, self: str) -> None:
    context.db.destroy("secret", self)


def move_passwords(context: Context, device_config: dict[str, str]) -> dict[str, str]:
    """device_config with each `…password` replaced by `…password_secret`, the uuid of a secret that holds it."""
    moved = {}
    for key, value in device_config.items():
        if key.endswith("password"):
            moved[f"{key}_secret"] = _new_secret(context, value)
        else:
            moved[key] = value
    return moved


def duplicate_secrets(context: Context, device_config: dict[str, str]) -> dict[str, str]:
    """device_config with secrets of its own: each PBD has its own copy of each `…password_secret`."""
    return {
        key: _new_secret(context, context.db.get("secret", context.db.by_uuid("secret", value), "value"))
        if key.endswith("password_secret")
        else value
        for key, value in device_config.items()
    }


def destroy_secrets(context: Context, device_config: dict[str, str]) -> None:
    for key, value in device_config.items():
        if key.endswith("password_secret"):
            for ref in context.db.where("secret", uuid=value):
                context.db.destroy("secret", ref)


def _new_secret(context: Context, value: str) -> str:
    ref = context.db.create("secret", {"value": value})
    return str(context.db.get("secret", ref, "uuid"))
