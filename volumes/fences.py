"""Shuts clients out of Ceph, each by its address and nonce: it can write no more, whatever it believes.

A whole host is never shut out: port and nonce 0 would mean that, and are refused. One that boots anew is another
client.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from volumes.errors import ServiceError
from volumes.lockers import plain

YEAR_S = 31_536_000.0  # longer than any client lives on that does not know it yet
AT_ONCE = 32


class Monitors(Protocol):
    def command(self, **arguments: Any) -> Any: ...

    def order(self, **arguments: Any) -> bytes: ...

    def wait_for_newest_map(self) -> None: ...


def add(monitors: Monitors, addresses: list[str]) -> dict[str, Any]:
    """Fence these clients. Then every request with the newest map, which this service now has, is served after it."""

    def fence(address: str) -> None:
        monitors.order(prefix="osd blocklist", blocklistop="add", addr=address, expire=YEAR_S)

    # Each waits for the monitors' next round; those that are asked for together share one.
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(fence, addresses))
    monitors.wait_for_newest_map()
    newest = monitors.command(prefix="osd dump")
    missing = set(addresses) - set(_blocklist(newest))
    if missing:
        raise ServiceError(502, "ceph_failed", f"not on Ceph's blocklist: {', '.join(sorted(missing))}")
    return {"epoch": newest["epoch"], "addresses": sorted(addresses)}


def read(monitors: Monitors) -> list[str]:
    """The clients that are fenced in the newest map, by whomever."""
    return _blocklist(monitors.command(prefix="osd dump"))


def unfenced(monitors: Monitors, addresses: list[str]) -> list[str]:
    """Those of these clients that are not fenced. This service's map then is at least as new as the answer."""
    found = set(read(monitors))
    monitors.wait_for_newest_map()
    # A person may have shut out the whole host.
    return sorted(each for each in set(addresses) if not found & {each, f"{each.rpartition(':')[0]}:0/0"})


def _blocklist(osd_map: dict[str, Any]) -> list[str]:
    return sorted(plain(address) for address in osd_map["blocklist"])
