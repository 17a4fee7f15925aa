"""Of what Ceph consists, and what of it takes part now: monitors and OSDs by the machine that they run on."""

from __future__ import annotations

from typing import Any, Protocol


class Monitors(Protocol):
    def command(self, **arguments: Any) -> Any: ...


def read(monitors: Monitors) -> dict[str, Any]:
    """An answer at all means that there is a quorum."""
    quorum = monitors.command(prefix="quorum_status")
    tree = monitors.command(prefix="osd tree")["nodes"]
    hosts = {osd: node["name"] for node in tree if node["type"] == "host" for osd in node["children"]}
    return {
        "monitors": [
            {"name": mon["name"], "in_quorum": mon["name"] in quorum["quorum_names"]}
            for mon in quorum["monmap"]["mons"]
        ],
        "osds": [
            {"id": node["id"], "host": hosts[node["id"]], "up": node["status"] == "up"}
            for node in tree
            if node["type"] == "osd" and node["id"] in hosts
        ],
    }
