"""Whose a Ceph pool of Shoal's own is, before an SR of type rbd is made on it, and after that was cut short.

xapi gives a new SR its uuid, has the driver take the Ceph pool for that, and forgets the SR again when the driver fails
(ocaml/xapi/xapi_sr.ml, `create`). A driver that failed for want of an answer may have taken the pool all the same, and
an SR with another uuid does not get it then.
"""

from __future__ import annotations

import json
import shlex
from typing import NoReturn

from shoal.clients.xenapi import XenApiError
from shoal.kit.errors import ShoalError
from shoal.plan.action import Action
from shoal.steps import settings
from shoal.steps.tools import Tools

MARK = "shoal.owner"  # volumes/owner.py


async def take_up(action: Action, tools: Tools) -> str | None:
    """Where there is no SR yet: the one that has the pool since this run saw it as nobody's, or None for a new one.

    Raises ShoalError if the pool is another SR's.
    """
    if settings.text(action, "type") != "rbd" or tools.connections.spec.ceph.existing is not None:
        return None
    was_free = f"{action.kind}/{action.target}: the Ceph pool was nobody's"
    owner = await _read(action, tools)
    if owner is None:
        tools.kept[was_free] = True
        return None
    if not tools.kept.get(was_free):
        await _refuse(action, tools, owner)
    tools.progress(action, f"its making was cut short when it had the Ceph pool: introducing SR {owner}")
    return await tools.xenapi.text(
        *("SR.introduce", owner, action.target, description(action), settings.text(action, "type"), "user", True, {})
    )


def description(action: Action) -> str:
    return f"Ceph pool {settings.text(action, 'pool')}, kept by Shoal"


async def _read(action: Action, tools: Tools) -> str | None:
    """The uuid of the SR that the pool belongs to."""
    pool, namespace = settings.text(action, "pool"), settings.optional_text(action, "namespace")
    text = await (await tools.ceph()).read_object(pool, namespace, MARK)
    if text is None:
        return None
    try:
        return str(json.loads(text)["sr"])
    except (ValueError, KeyError, TypeError):
        raise ShoalError(
            f"the object {MARK} in the Ceph pool {pool} is not as Shoal wrote it", details=text[:200]
        ) from None


async def _refuse(action: Action, tools: Tools, owner: str) -> NoReturn:
    pool = settings.text(action, "pool")
    try:
        ref = await tools.xenapi.text("SR.get_by_uuid", owner)
    except XenApiError as error:
        if error.code != "UUID_INVALID":
            raise
        introduce = f"xe sr-introduce uuid={owner} type=rbd name-label={shlex.quote(action.target)} shared=true"
        raise ShoalError(
            f"the Ceph pool {pool} belongs to SR {owner}, which this XenServer pool does not know",
            resolution="It was forgotten, or its making was cut short. If no other XenServer pool has it:"
            f" {introduce} content-type=user, and then the same command again."
            " See docs/how-to/bring-back-a-forgotten-sr.md.",
        ) from None
    name = await tools.xenapi.text("SR.get_name_label", ref)
    raise ShoalError(
        f"the Ceph pool {pool} belongs to the SR {name!r}",
        resolution=f"Name that SR {action.target!r}, or name it in the spec as it is called in the pool.",
    )
