"""Of what Ceph consists, and what of it takes part now: monitors and OSDs by the machine that they run on."""

from __future__ import annotations

from typing import Any, Protocol


class Monitors(Protocol):
    def command(self, **arguments: Any) -> Any: ...


def v1_addresses(mon: dict[str, Any]) -> list[str]:
    """ "10.77.0.21:6789" of a monitor of a map: what kernels ask."""
    return [str(entry["addr"]) for entry in mon["public_addrs"]["addrvec"] if entry["type"] == "v1"]


def read_quorum(monitors: Monitors) -> list[str]:
    """v1 addresses of the monitors that take part now."""
    quorum = monitors.command(prefix="quorum_status")
    inside = [mon for mon in quorum["monmap"]["mons"] if mon["name"] in quorum["quorum_names"]]
    return [address for mon in inside for address in v1_addresses(mon)]


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
