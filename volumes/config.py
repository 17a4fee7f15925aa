"""What the service is told: one JSON file. Values only; names of files are relative to its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    address: str
    port: int
    ceph_conf: Path
    user: str
    keyring: Path
    certificate: Path
    key: Path
    ca: Path
    clients: Path  # need not be there: then nobody may ask
    host: str = ""  # the one client of the container service


def load(path: Path) -> Config:
    """Read `path`; a missing key or file fails now and by name, not at the first call."""
    values = json.loads(path.read_text())
    address, port = values["listen"]
    files = {name: path.parent / values[name] for name in ("ceph_conf", "keyring", "certificate", "key", "ca")}
    for name, file in files.items():
        if not file.is_file():
            raise FileNotFoundError(f"{path}: {name}: there is no file {file}")
    # A power cut in the middle of an upgrade leaves this code with settings that name no list: it runs, for nobody.
    files["clients"] = path.parent / values.get("clients", "clients.json")
    host = str(values.get("host", ""))
    return Config(address=str(address), port=int(port), user=str(values["user"]), host=host, **files)
