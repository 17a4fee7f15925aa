"""Writes and reads disks of the real Ceph through librbd, as a guest would through the kernel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.ceph.dialog import Inside
from tests.ceph.service import Service


@contextmanager
def held(service: Service, disk: str) -> Iterator[None]:
    """Somebody has the disk open and keeps its lock, as the host of a running VM does.

    It lets go in the end: one that was killed counts as a holder until Ceph notices, half a minute later.
    """
    holder = Inside(service.cluster)
    try:
        holder.do("hold", image=f"vdi-{disk}")
        yield
        holder.do("let_go", image=f"vdi-{disk}")
    finally:
        holder.stop()


def write(service: Service, disk: str, letter: str, offset: int = 0, length: int = 4096) -> None:
    """So many bytes of that letter."""
    service.guest.do("fill", image=f"vdi-{disk}", letter=letter, offset=offset, length=length)


def read(service: Service, location: str, offset: int = 0) -> str:
    """The letter that was written there; a NUL if nothing was."""
    where = {"image": f"vdi-{location}"}
    if "@" in location:
        status, found = service.ask("GET", f"pools/rbd/snapshots/{location}")
        assert status == 200, found
        where = {"image": found["image"], "snap": found["snap"]}
    return str(service.guest.do("letter", offset=offset, **where))


def listing(service: Service) -> tuple[set[str], set[str]]:
    """Locations of all disks and of all snapshots."""
    _, found = service.ask("GET", "pools/rbd/volumes")
    assert found["broken"] == [], found
    return {each["id"] for each in found["volumes"]}, {each["location"] for each in found["snapshots"]}


def images(service: Service) -> set[str]:
    """What there really is, under whatever name."""
    return set(json.loads(service.cluster.rbd("ls", "rbd", "--format", "json")))
