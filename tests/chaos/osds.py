"""OSDs that the monitors marked down while they lived. Pure.

An OSD that starts, and one that was wrongly marked down, both join at a new map (`up_from`). So an OSD that nothing has
ended, and that has joined anew, was a false alarm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def joined(osd_dump: Any, osd_tree: Any) -> dict[str, dict[int, int]]:
    """Of `ceph osd dump` and `ceph osd tree`: machine → OSD → the map since which it is up; 0 for one that is down."""
    ups = {row["osd"]: row["up_from"] if row["up"] else 0 for row in osd_dump["osds"]}
    hosts = (node for node in osd_tree["nodes"] if node["type"] == "host")
    return {node["name"]: {osd: ups[osd] for osd in node["children"] if osd in ups} for node in hosts}


def false_alarms(
    before: Mapping[str, Mapping[int, int]], after: Mapping[str, Mapping[int, int]], ended: Collection[str]
) -> list[int]:
    """OSDs that were marked down and are of no machine in `ended`, where something may have ended them."""
    return sorted(
        osd
        for machine, osds in before.items()
        if machine not in ended
        for osd, since in osds.items()
        if since and after.get(machine, {}).get(osd, 0) != since  # one that was down is back, and was counted then
    )
