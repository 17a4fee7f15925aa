"""A Ceph as failover sees it through a volume service: members, lock owners, fences, locks, noout. In memory, for one pool."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class PaperCeph:
    """`machines` are the storage VMs that there are, `owners` the clients that hold disks: (image, address).

    `at_fence` is called before each fence.
    """

    def __init__(self) -> None:
        self.machines: dict[str, bool] = {}  # name → whether its monitor and OSD take part
        self.owners: set[tuple[str, str]] = set()
        self.fenced: list[str] = []
        self.noout: dict[str, int] = {}  # machine → for how long
        self.at_fence: Callable[[], object] = lambda: None
        self._locks: dict[str, tuple[str, float]] = {}
        self._guard = threading.Lock()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._guard:
            if path == "/v1/members":
                return 200, self.members()
            _, _, kind, *rest = path.removeprefix("/v1/").split("/")
            if kind == "holders":
                return 200, {"holders": [{"image": i, "client": f"client.{a.rpartition('/')[2]}", "address": a} for i, a in self.owners]}
            if kind == "volumes":  # the owners of one disk's lock, which all live
                own = [address for image, address in self.owners if image == "vdi-" + rest[0]]
                return 200, {"locks": [{"client": "client.1", "address": address, "alive": True} for address in own]}
            if kind == "fences" and method == "POST":
                self.at_fence()
                self.fenced += body["addresses"]
                return 200, {"epoch": 1, "addresses": body["addresses"]}
            if kind == "fences":
                return 200, {"addresses": self.fenced}
            if kind == "noout" and method == "PUT":
                self.noout[rest[0]] = body["ttl_s"]
                return 200, {"machine": rest[0], "held": True}
            if kind == "noout":
                return 200, {"machine": rest[0], "released": self.noout.pop(rest[0], None) is not None}
            if (kind, method) == ("locks", "GET"):
                owner, until = self._locks.get(rest[0], ("", 0.0))
                return 200, {"owner": owner if until > time.monotonic() else None}
            if (kind, method) == ("locks", "DELETE"):
                if self._locks.get(rest[0], ("", 0.0))[0] == body["owner"]:
                    del self._locks[rest[0]]
                return 200, {"owner": None}
            assert (kind, method) == ("locks", "PUT"), path
            return self.lock(rest[0], body["owner"], body["ttl_s"])

    def members(self) -> dict[str, Any]:
        return {
            "monitors": [{"name": name, "in_quorum": well} for name, well in self.machines.items()],
            "osds": [{"id": n, "host": name, "up": well} for n, (name, well) in enumerate(self.machines.items())],
        }

    def lock(self, name: str, owner: str, ttl_s: float) -> tuple[int, dict[str, Any]]:
        held_by, until = self._locks.get(name, ("", 0.0))
        if held_by not in ("", owner) and until > time.monotonic():
            detail = {"owner": held_by, "remaining_s": 1}
            return 409, {"error": {"code": "held", "message": "held", "detail": detail}}
        self._locks[name] = (owner, time.monotonic() + ttl_s)
        return 200, {"owner": owner, "remaining_s": ttl_s}
