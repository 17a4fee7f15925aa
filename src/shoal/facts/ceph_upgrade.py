"""What Ceph's daemons run, the image that they shall run, and an upgrade that is under way."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of Ceph's own; the volume service is none."""

    name: str  # "mon.shoal-storage-xen1"
    image: str  # "localhost/ceph:18.2.7", or with a digest
    version: str  # "18.2.7"; "" while it is not known
    digests: tuple[str, ...] = ()  # of its image, one for each registry; none for one that was loaded, not pulled


@dataclass(frozen=True, slots=True)
class Copy:
    """The wanted image in one storage VM."""

    host: str
    id: str = ""  # "" where it is not there
    has_digest: bool = False
    unseen: str = ""  # why nothing is known of it


@dataclass(frozen=True, slots=True)
class Image:
    """The image that is wanted, as the cluster knows it."""

    version: str = ""  # as the program in it says
    digest: str = ""  # "" if it has none, or if the orchestrator goes by names
    refusal: str = ""  # the orchestrator's own words, if it cannot take it
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True, slots=True)
class CephUpgrade:
    daemons: tuple[Daemon, ...] = ()
    volume_service_images: tuple[str, ...] = ()
    in_progress: bool = False
    is_paused: bool = False
    target: str = ""  # the image, as it was asked for, or its digest
    message: str = ""  # the orchestrator's own words
    maintenance: tuple[str, ...] = ()  # hosts that the orchestrator or the keeper has in maintenance
    wanted: Image = Image()
