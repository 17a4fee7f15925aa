"""What a lab consists of: its hosts, addresses, names and folders. Values only, no I/O but reading `lab.json`.

Two labs can exist side by side: every name that the machine sees carries the lab's id, and all addresses live in
namespaces of the lab's own.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_DIR = Path("/var/lib/shoal-lab")
DEFAULT_CACHE = Path("/var/cache/shoal-lab")
BRIDGE = "xenbr0"
LAN = "10.77.0"
LAN_CIDR = f"{LAN}.0/24"
WORKSTATION = f"{LAN}.1"  # the address of whatever `shoal-lab exec` runs


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the pool. `index` counts from 1; the first host is the pool's first master."""

    name: str
    index: int
    dir: Path

    @property
    def address(self) -> str:
        """The host's own address on the LAN; dom0 has it."""
        return f"{LAN}.{10 + self.index}"

    @property
    def storage_vm_address(self) -> str:
        return f"{LAN}.{20 + self.index}"

    @property
    def channel_lab(self) -> str:
        """The lab's end of the private wire to dom0. It is no part of the LAN: `cut` leaves it alone."""
        return f"10.78.{self.index}.1"

    @property
    def channel_dom0(self) -> str:
        return f"10.78.{self.index}.2"

    @property
    def mac(self) -> str:
        return f"52:54:00:77:00:{self.index:02x}"

    @property
    def channel_mac(self) -> str:
        return f"52:54:00:78:00:{self.index:02x}"

    @property
    def tap(self) -> str:
        return f"tap-{self.name}"

    @property
    def channel_tap(self) -> str:
        return f"chan-{self.name}"

    @property
    def disk(self) -> Path:
        """The raw image behind dom0's /dev/sda."""
        return self.dir / "sda.img"

    @property
    def spare_disk(self) -> Path:
        """The raw image behind dom0's /dev/vda, which is empty: a name that never changes places with sda."""
        return self.dir / "vda.img"

    @property
    def spare_disk_serial(self) -> str:
        return f"SHOAL-{self.name}-spare"

    @property
    def disk_serial(self) -> str:
        return f"SHOAL-{self.name}"


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab. `dir` holds its state, `cache` the images that labs share."""

    dir: Path
    cache: Path
    host_count: int = 3

    @property
    def id(self) -> str:
        return hashlib.sha256(str(self.dir).encode()).hexdigest()[:6]

    @property
    def namespace(self) -> str:
        """The network namespace with the bridge, the workstation's address and the stand-in toolstacks."""
        return f"shoal-{self.id}"

    @property
    def hosts(self) -> tuple[Host, ...]:
        return tuple(Host(f"xen{n}", n, self.dir / "hosts" / f"xen{n}") for n in range(1, self.host_count + 1))

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(f"no host {name!r} in this lab; it has {', '.join(h.name for h in self.hosts)}")

    @property
    def password_file(self) -> Path:
        """The pool's root password: XenAPI and SSH to dom0 both take it, as on a real host."""
        return self.dir / "pool-password"

    @property
    def ssh_key(self) -> Path:
        """The lab's own key to dom0, for the stand-in and `shoal-lab run`; the product does not know it."""
        return self.dir / "ssh" / "id_ed25519"

    @property
    def database(self) -> Path:
        return self.dir / "xapi.json"


def locate(directory: Path | None = None, *, host_count: int | None = None) -> Lab:
    """The lab at `directory` (else $SHOAL_LAB_DIR, else the default), as `lab.json` says if it has been made."""
    directory = (directory or Path(os.environ.get("SHOAL_LAB_DIR", DEFAULT_DIR))).resolve()
    cache = Path(os.environ.get("SHOAL_LAB_CACHE", DEFAULT_CACHE)).resolve()
    saved = directory / "lab.json"
    if host_count is None and saved.exists():
        host_count = int(json.loads(saved.read_text())["host_count"])
    return Lab(directory, cache, host_count or 3)
