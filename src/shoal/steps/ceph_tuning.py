"""What the hosts' kernels need of the cluster as a whole, before the first of them connects."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.plan.action import Action
from shoal.steps import settings


async def apply(action: Action, ceph: Ceph) -> None:
    client = settings.optional_text(action, "min_compat_client")
    ciphers = settings.optional_text(action, "allowed_ciphers")
    if client:
        osd_map = await ceph.command(["osd", "dump"])
        if not isinstance(osd_map, dict) or osd_map.get("require_min_compat_client") != client:
            # Refused once an older-looking client is connected, and kernel clients always look older.
            await ceph.text(["osd", "set-require-min-compat-client", client, "--yes-i-really-mean-it"])
    if ciphers:
        await ceph.text(["mon", "set", "auth_allowed_ciphers", ciphers])
