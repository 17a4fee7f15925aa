"""A Ceph user with exactly the rights that the plan names. Its key is never read here."""

from __future__ import annotations

import base64
import secrets
import struct
import time

from shoal.clients.ceph import Ceph, CephRefused
from shoal.kit.secret import Secret
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.tools import Tools

timeout_s = 120.0
ENOENT = 2
AES = 1


async def apply(action: Action, tools: Tools) -> None:
    ceph, user, caps = await tools.ceph(), action.target, settings.table(action, "caps")
    words = [word for pair in caps.items() for word in pair]
    if await _caps(ceph, user) is not None:
        await ceph.text(["auth", "caps", user, *words])
    elif settings.optional_text(action, "key_type") == "aes":
        # Newer Ceph makes keys of a type that older kernels do not know: this one is made here.
        await ceph.text(["auth", "import", "-i", "-"], input=_keyring(user, make_aes_key(), caps))
    else:
        # Its answer holds the key; it goes nowhere.
        await ceph.text(["auth", "get-or-create", user, *words])


async def verify(action: Action, tools: Tools) -> str:
    found = await _caps(await tools.ceph(), action.target)
    if found is None:
        return "there is no such user"
    return "" if found == settings.table(action, "caps") else "its rights are not those that it needs"


async def read_key(ceph: Ceph, user: str) -> Secret:
    return Secret((await ceph.text(["auth", "get-key", user])).strip())


async def _caps(ceph: Ceph, user: str) -> dict[str, str] | None:
    try:
        found = await ceph.command(["auth", "get", user])
    except CephRefused as error:
        if error.code == ENOENT:
            return None
        raise
    return dict(found[0].get("caps", {})) if isinstance(found, list) and found else None


def make_aes_key() -> Secret:
    """A CephX key as Ceph encodes it: type, time, length, 16 random bytes."""
    data = secrets.token_bytes(16)
    header = struct.pack("<HIIH", AES, int(time.time()), 0, len(data))
    return Secret(base64.b64encode(header + data).decode())


def _keyring(user: str, key: Secret, caps: dict[str, str]) -> bytes:
    lines = [f"[{user}]", f"key = {key.reveal()}", *(f'caps {name} = "{value}"' for name, value in caps.items())]
    return ("\n".join(lines) + "\n").encode()
