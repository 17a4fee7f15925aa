"""Ceph's containers in the words of XenServer's container management; nothing that changes by itself.

The keys lie in the pool's database, where everybody can read them and each write wakes every client: so only what a
person may see, and only what stays the same while nothing happens.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from volumes.containers import daemons, docker

INFO = (
    *("ID", "Name", "ServerVersion", "OperatingSystem", "OSType", "Architecture", "KernelVersion", "NCPU", "MemTotal"),
    *("Driver", "DockerRootDir", "IndexServerAddress", "IPv4Forwarding", "MemoryLimit", "SwapLimit", "Debug", "Images"),
)
VERSION = ("Version", "ApiVersion", "MinAPIVersion", "GitCommit", "GoVersion", "Os", "Arch", "KernelVersion")
COMMAND_MAX = 200
SHORT_ID = 10
ENDED = re.compile(r"(Exited|Restarting) \(-?\d+\)")


def look() -> dict[str, Any]:
    """`docker_ps`, `docker_info` and `docker_version`, as values."""
    entries = list_containers()
    states = [_state(entry["status"]) for entry in entries]
    counts = {
        "Containers": len(entries),
        **{f"Containers{state}": states.count(state) for state in ("Running", "Paused", "Stopped")},
    }
    return {
        "docker_ps": entries,
        "docker_info": {**_scalars(docker.info(), INFO), **counts},
        "docker_version": _scalars(docker.version(), VERSION),
    }


def list_containers() -> list[dict[str, Any]]:
    """The container of each of cephadm's daemons, one that has stopped and is gone as well. No passing ones."""
    found = daemons.find()
    there = {}
    for one in docker.containers():
        name = _name(one)
        if name in found:
            there[name] = _entry(name, one)
    gone = [name for name in found if name not in there]
    codes = daemons.exit_codes(found[name] for name in gone)
    for name in gone:
        there[name] = _entry_of_gone(name, codes.get(found[name], ""))
    return [there[name] for name in sorted(there)]


def read_status(status: str) -> str:
    """Docker's own words without the time since."""
    if status.startswith("Up"):
        return "Up (Paused)" if "(Paused)" in status else "Up"
    ended = ENDED.match(status)
    return ended.group() if ended else status.split(" ")[0]


def _name(container: Mapping[str, Any]) -> str:
    names = container.get("Names")
    return str(names[0]).lstrip("/") if isinstance(names, list) and names else ""


def _entry(name: str, container: Mapping[str, Any]) -> dict[str, Any]:
    ident = str(container.get("Id", ""))
    ports = container.get("Ports")
    return {
        "id": ident,
        "names": name,
        "image": str(container.get("Image", "")),
        "command": str(container.get("Command", ""))[:COMMAND_MAX],
        "created": container.get("Created", 0),
        "status": read_status(str(container.get("Status", ""))),
        "ports": [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else [],
        "container": ident[:SHORT_ID],
    }


def _entry_of_gone(name: str, code: str) -> dict[str, Any]:
    """It needs an id, to be started by: one that is the same each time."""
    ident = hashlib.sha256(name.encode()).hexdigest()
    status = f"Exited ({code or 0})"
    about = {"image": "", "command": "", "created": 0, "status": status, "ports": []}
    return {"id": ident, "names": name, **about, "container": ident[:SHORT_ID]}


def _state(status: str) -> str:
    if status.startswith("Up"):
        return "Paused" if "(Paused)" in status else "Running"
    return "Stopped"


def _scalars(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: values[name] for name in names if isinstance(values.get(name), (str, int, float))}
