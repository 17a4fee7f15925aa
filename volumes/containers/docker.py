"""What Docker says, over its own socket. Three fixed questions, all of them reads; no request becomes part of one."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from volumes.errors import ServiceError

SOCKET = "/run/docker.sock"
TIMEOUT_S = 5.0


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(SOCKET)


def containers() -> list[dict[str, Any]]:
    """All there are, whether they run or not. Their sizes are not asked: Docker would count every file."""
    found = _get("/containers/json?all=1", list)
    return [one for one in found if isinstance(one, dict)]


def info() -> dict[str, Any]:
    return dict(_get("/info", dict))


def version() -> dict[str, Any]:
    return dict(_get("/version", dict))


def _get(path: str, kind: type) -> Any:
    connection = _Connection("localhost", timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}")
        value = json.loads(text)
        if not isinstance(value, kind):
            raise ValueError("not what was asked for")
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ServiceError(503, "docker_away", f"Docker does not answer {path}: {error}") from error
    finally:
        connection.close()
    return value
