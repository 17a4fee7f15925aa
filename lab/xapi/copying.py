"""One disk's content copied to another: on which host, and its progress into the task. The pool's side."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lab.xapi import attached, sm
from lab.xapi.failure import Failure, internal_error

if TYPE_CHECKING:
    from lab.xapi.toolstack import Context

ASK_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2


def copy_content(context: Context, source: str, target: str, base: str | None = None) -> None:
    """All of `source`, or what `base` has not, into `target`; the disks are attached to dom0 meanwhile."""
    wanted = [vdi for vdi in (source, target, base) if vdi]
    host = host_that_sees(context, {context.db.get("VDI", vdi, "SR") for vdi in wanted})
    with ExitStack() as held:
        places = {
            vdi: held.enter_context(attached.in_dom0(context, vdi, host, writable=vdi == target)) for vdi in wanted
        }
        token = str(uuid.uuid4())
        agent = context.agent(host)
        agent.call(
            "start_copy", ASK_TIMEOUT_S, token=token, source=places[source], target=places[target],
            base=places[base] if base else None,
        )  # fmt: skip
        while True:
            state = agent.call("copy_state", ASK_TIMEOUT_S, token=token)
            if context.task and context.db.exists("task", context.task):
                context.db.set("task", context.task, progress=min(float(state["progress"]), 0.99))
            if state["is_over"]:
                if state["failure"]:
                    raise Failure(*state["failure"])
                return
            time.sleep(LOOK_EVERY_S)


def host_that_sees(context: Context, srs: set[str]) -> str:
    """A live host where all of these are plugged: the master if it is one."""
    plugged = [
        {context.db.get("PBD", pbd, "host") for pbd in context.db.where("PBD", SR=sr, currently_attached=True)}
        for sr in srs
    ]
    for sr, hosts in zip(srs, plugged, strict=True):
        if not hosts:
            raise Failure("SR_HAS_NO_PBDS", sr)
    able = [host for host in context.db.refs("host") if all(host in hosts for hosts in plugged)]
    live = [host for host in able if context.db.get("host_metrics", context.db.get("host", host, "metrics"), "live")]
    if not live:
        raise internal_error(
            "no live host of the pool sees all of these SRs; xapi would copy over the network, the lab does not"
        )
    master = sm.pool_master(context)
    return master if master in live else live[0]
