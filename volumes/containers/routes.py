"""The API: `GET /v1/containers`, and `POST /v1/containers/NAME/start`, `stop` or `restart`. It must not know of TLS.

NAME is looked for among Ceph's own containers, and never becomes part of a command or of a question to Docker.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from volumes.containers import daemons, listing
from volumes.errors import ServiceError, bad_request, not_found

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
APPEAR_TIMEOUT_S = 60.0
POLL_S = 0.3

log = logging.getLogger("volumes")


class Routes:
    def answer(self, method: str, target: str, body: bytes) -> dict[str, Any]:  # noqa: ARG002 - none is needed
        path = target.split("?")[0].strip("/").split("/")
        if path == ["v1", "containers"] and method == "GET":
            return listing.look()
        if path[:2] == ["v1", "containers"] and len(path) == 4 and method == "POST":
            return change(path[2], path[3])
        raise not_found(f"{method} {target[:100]!r}")


def change(name: str, verb: str) -> dict[str, Any]:
    if verb not in daemons.VERBS:
        raise not_found(f"way to {verb[:20]!r} a container")
    if not NAME.fullmatch(name):
        raise bad_request("a container is named by letters, digits, '_', '.' and '-'")
    entry = _find(name)
    full_name = entry["names"]
    unit = daemons.find().get(full_name)
    if unit is None:  # removed just now
        raise not_found(f"container {name} of Ceph's")
    log.info("%s %s", verb, unit)
    daemons.change(unit, verb)
    if verb != "stop":
        _wait_until_up(full_name, unit)
    return {"container": full_name, "unit": unit}


def _find(name: str) -> dict[str, Any]:
    """By its name, its id, or the short id that clients are given."""
    found = [one for one in listing.list_containers() if name in (one["names"], one["id"], one["container"])]
    if len(found) != 1:
        raise not_found(f"container {name} of Ceph's")
    return found[0]


def _wait_until_up(name: str, unit: str) -> None:
    """systemd is done when the command runs that starts the container."""
    end = time.monotonic() + APPEAR_TIMEOUT_S
    while True:
        status = next((one["status"] for one in listing.list_containers() if one["names"] == name), "unknown")
        if status == "Up":
            return
        if time.monotonic() >= end:
            why = f"{name} is {status} {APPEAR_TIMEOUT_S:.0f} s after its start; journalctl -u {unit} there says why"
            raise ServiceError(504, "not_up", why)
        time.sleep(POLL_S)
