"""Writes and reads disks of the real Ceph through librbd, as a guest would through the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ceph.service import Service

OPEN = (
    "import rados, rbd, sys\n"
    "cluster = rados.Rados(conffile='/scratch/ceph.conf', conf={'keyring': '/scratch/admin.keyring'})\n"
    "cluster.connect()\n"
    "ioctx = cluster.open_ioctx('rbd')\n"
)
WRITE = OPEN + (
    "with rbd.Image(ioctx, sys.argv[1]) as image:\n"
    "    image.write(sys.argv[2].encode() * int(sys.argv[4]), int(sys.argv[3]))\n"
    "    image.flush()\n"
)
READ = OPEN + (
    "with rbd.Image(ioctx, sys.argv[1], snapshot=sys.argv[2] or None, read_only=True) as image:\n"
    "    print(image.read(int(sys.argv[3]), 4096)[:1].decode())\n"
)
HOLD = OPEN + (
    "import time\n"
    "image = rbd.Image(ioctx, sys.argv[1])\n"
    "image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)\n"
    "open('/scratch/held', 'w').close()\n"
    "time.sleep(60)\n"
)


@contextmanager
def held(service: Service, disk: str, log: Path) -> Iterator[None]:
    """Somebody has the disk open and keeps its lock, as the host of a running VM does."""
    sign = service.cluster.files / "held"
    sign.unlink(missing_ok=True)
    holder = service.cluster.start_process("python3", "-c", HOLD, f"vdi-{disk}", log=log)
    try:
        service.cluster.wait_for(sign.exists, 20, f"the holder (see {log})")
        yield
    finally:
        service.cluster.kill_process(holder)


def write(service: Service, disk: str, letter: str, offset: int = 0, length: int = 4096) -> None:
    """So many bytes of that letter."""
    service.cluster.run("python3", "-c", WRITE, f"vdi-{disk}", letter, str(offset), str(length))


def read(service: Service, location: str, offset: int = 0) -> str:
    """The letter that was written there; a NUL if nothing was."""
    image, snap = f"vdi-{location}", ""
    if "@" in location:
        status, found = service.ask("GET", f"pools/rbd/snapshots/{location}")
        assert status == 200, found
        image, snap = found["image"], found["snap"]
    return service.cluster.run("python3", "-c", READ, image, snap, str(offset)).rstrip("\n")


def listing(service: Service) -> tuple[set[str], set[str]]:
    """Locations of all disks and of all snapshots."""
    _, found = service.ask("GET", "pools/rbd/volumes")
    assert found["broken"] == [], found
    return {each["id"] for each in found["volumes"]}, {each["location"] for each in found["snapshots"]}


def images(service: Service) -> set[str]:
    """What there really is, under whatever name."""
    return set(json.loads(service.cluster.rbd("ls", "rbd", "--format", "json")))
