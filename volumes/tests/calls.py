"""Short forms for the tests of volumes, snapshots and clones."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.ceph.dialog import Inside
from tests.ceph.service import Service

MIB = 1 << 20
OURS = (
    *("rbd_directory", "rbd_trash", "rbd_info", "rbd_namespace"),
    *("shoal.purge", "shoal.owner", "shoal.overwrite", "shoal.noout"),
)


def new_id() -> str:
    return str(uuid.uuid4())


def ok(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    assert answer[0] == 200, answer
    return answer[1]


def refusal(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]["code"]


class Calls:
    """The service's calls on one pool."""

    def __init__(self, service: Service, pool: str = "rbd", namespace: str = "") -> None:
        self.service = service
        self.pool = pool
        self.namespace = namespace

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        query = f"?namespace={self.namespace}" if self.namespace else ""
        return self.service.ask(method, f"pools/{self.pool}/{path}{query}", body)

    def create(self, volume: str, size_bytes: int = 64 * MIB, **more: Any) -> dict[str, Any]:
        return ok(self.ask("PUT", f"volumes/{volume}", {"size_bytes": size_bytes, "metadata": {}, **more}))

    def clone(self, volume: str, source: str, **metadata: str) -> dict[str, Any]:
        return ok(self.ask("PUT", f"volumes/{volume}", {"source": source, "metadata": metadata}))

    def snapshot(self, volume: str, snapshot: str = "", **metadata: str) -> str:
        """Its location."""
        body = {"snapshot": snapshot or new_id(), "metadata": metadata}
        return str(ok(self.ask("POST", f"volumes/{volume}/snapshot", body))["location"])

    def revert(self, volume: str, location: str) -> dict[str, Any]:
        return ok(self.ask("POST", f"volumes/{volume}/revert", {"snapshot": location}))

    def delete(self, what: str) -> bool:
        """A volume, or a snapshot by its location."""
        kind = "snapshots" if "@" in what else "volumes"
        return bool(ok(self.ask("DELETE", f"{kind}/{what}"))["removed"])

    def listed(self) -> dict[str, Any]:
        return ok(self.ask("GET", "volumes"))

    def sweep(self, age_s: float = 0) -> None:
        self.service.sweep(self.pool, self.namespace, age_s)


def leftovers_of(inside: Inside, timeout_s: float = 20) -> list[str]:
    """What is left when the OSDs have had time to drop what only removed snapshots held."""
    end = time.monotonic() + timeout_s
    while True:
        found = leftovers(inside.do("content"))
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def leftovers(content: dict[str, Any]) -> list[str]:
    """What an empty pool must not hold."""
    return [each for each in (*content["objects"], *content["trash"], *content["images"]) if each not in OURS]


def where(calls: Calls, what: str) -> dict[str, Any]:
    """Arguments by which a volume or a snapshot is read inside."""
    if "@" not in what:
        return {"image": f"vdi-{what}"}
    found = ok(calls.ask("GET", f"snapshots/{what}"))
    return {"image": found["image"], "snap": found["snap"]}
