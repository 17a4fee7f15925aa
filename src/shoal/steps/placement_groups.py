"""Waits until a Ceph pool can be written to."""

from __future__ import annotations

from shoal.clients.ceph import Ceph
from shoal.kit.waiting import wait_until
from shoal.plan.action import Action
from shoal.steps.tools import Tools

ACTIVE_TIMEOUT_S = 300.0


async def wait_until_active(action: Action, tools: Tools, ceph: Ceph) -> None:
    """Requests to a pool whose placement groups are not active would hang."""

    async def look() -> str:
        seen = describe_inactive(await ceph.command(["pg", "stat"]))
        if seen:
            tools.progress(action, f"waiting for Ceph: {seen}")
        return seen

    await wait_until(look, deadline_s=ACTIVE_TIMEOUT_S, what="Ceph's placement groups to be active")


def describe_inactive(status: object) -> str:
    """What of `ceph pg stat` is not active; "" when all is."""
    summary = status.get("pg_summary", status) if isinstance(status, dict) else {}
    states = {str(row["name"]): int(row["num"]) for row in summary.get("num_pg_by_state", ())}
    other = {name: count for name, count in states.items() if "active" not in name.split("+")}
    if states and not other:
        return ""
    return ", ".join(f"{count} {name}" for name, count in other.items()) or "no placement groups yet"
