"""The SSH key pair for the storage VMs: a XenAPI secret, whose uuid stands in the pool's other_config.

It lives in the pool, so that losing the workstation loses no access.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shoal.clients.connections import STORAGE_VM_KEY
from shoal.clients.xenapi import XenApi, XenApiError
from shoal.kit.errors import ShoalError
from shoal.kit.secret import Secret
from shoal.plan.action import Action
from shoal.steps import records
from shoal.steps.tools import Tools

timeout_s = 60.0
POOL_KEY = STORAGE_VM_KEY
ROLE = "ssh-key"


async def apply(_action: Action, tools: Tools) -> None:
    xenapi = tools.xenapi
    pool = await records.pool_ref(xenapi)
    if await read_key(xenapi) is not None:
        return
    # Made by a run that was killed before it could note the uuid?
    for ref, record in (await xenapi.records("secret")).items():
        if records.config_of(record).get(records.ROLE_MARK) == ROLE and _load(await _value(xenapi, ref)) is not None:
            await records.set_mark(xenapi, "pool", pool, POOL_KEY, str(record["uuid"]))
            return
    await _refuse_to_lock_out(xenapi)
    secret = {"value": _generate(), "other_config": {records.ROLE_MARK: ROLE}}
    ref = await xenapi.text("secret.create", secret)
    await records.set_mark(xenapi, "pool", pool, POOL_KEY, await xenapi.text("secret.get_uuid", ref))


async def verify(_action: Action, tools: Tools) -> str:
    return "" if await read_key(tools.xenapi) else f"the pool's other_config {POOL_KEY} names no usable key"


async def read_key(xenapi: XenApi) -> Secret | None:
    """The private key, or None when there is none that can be used."""
    uuid = records.config_of(await xenapi.record("pool", await records.pool_ref(xenapi))).get(POOL_KEY)
    if not uuid:
        return None
    try:
        value = await _value(xenapi, await xenapi.text("secret.get_by_uuid", uuid))
    except XenApiError as error:
        if error.code in ("UUID_INVALID", "HANDLE_INVALID"):
            return None
        raise
    return value if _load(value) is not None else None


async def public_key(xenapi: XenApi) -> str:
    """The line for authorized_keys."""
    value = await read_key(xenapi)
    key = _load(value) if value is not None else None
    if key is None:
        raise ShoalError("the pool holds no SSH key for the storage VMs", resolution="Run apply again: it makes one.")
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return f"{line.decode()} shoal"


async def _value(xenapi: XenApi, ref: str) -> Secret:
    return Secret(await xenapi.text("secret.get_value", ref))


async def _refuse_to_lock_out(xenapi: XenApi) -> None:
    """With storage VMs that know the lost key, a new one would open none of them."""
    for record in (await xenapi.records("VM")).values():
        if records.HOST_MARK in records.config_of(record):
            raise ShoalError(
                f"the SSH key of the storage VMs is lost, and {record['name_label']} knows no other",
                details=f"The pool's other_config {POOL_KEY} names no secret with a key.",
                resolution="Restore the secret from a backup of the pool's database.",
            )


def _generate() -> Secret:
    key = Ed25519PrivateKey.generate()
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
    return Secret(key.private_bytes(encoding, form, serialization.NoEncryption()).decode())


def _load(value: Secret) -> Ed25519PrivateKey | None:
    try:
        key = serialization.load_ssh_private_key(value.reveal().encode(), password=None)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None
