"""What Ceph's daemons run, and an upgrade that is under way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of Ceph's own; the volume service is none."""

    name: str  # "mon.shoal-storage-xen1"
    image: str  # "localhost/ceph:18.2.7", or with a digest
    version: str  # "18.2.7"; "" while it is not known


@dataclass(frozen=True, slots=True)
class CephUpgrade:
    daemons: tuple[Daemon, ...] = ()
    volume_service_images: tuple[str, ...] = ()
    in_progress: bool = False
    is_paused: bool = False
    target: str = ""  # the image, as it was asked for
    message: str = ""  # the orchestrator's own words
    maintenance: tuple[str, ...] = ()  # hosts that the orchestrator or the keeper has in maintenance
