"""The pool's virtual disks, who uses them, and a file of this machine that one is made from or written to."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.facts.pool import Sr


@dataclass(frozen=True, slots=True)
class DiskUser:
    """A VM that a disk belongs to (a VBD)."""

    vm: str  # name label
    vm_uuid: str
    power_state: str  # XenAPI's: "Running", "Halted", …
    position: str  # the VBD's userdevice
    attached: bool
    is_disk: bool = True  # False: a CD


@dataclass(frozen=True, slots=True)
class VirtualDisk:
    uuid: str
    name: str
    sr: str  # uuid of its SR
    size_bytes: int
    used_bytes: int
    is_a_snapshot: bool = False
    resets_at_boot: bool = False
    users: tuple[DiskUser, ...] = ()
    other_config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VirtualDisks:
    """All that was seen in one look."""

    srs: tuple[Sr, ...]
    disks: tuple[VirtualDisk, ...]

    def sr(self, uuid: str) -> Sr | None:
        return next((sr for sr in self.srs if sr.uuid == uuid), None)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """`unreadable` says why nothing else is known."""

    path: str
    exists: bool = False
    size_bytes: int = 0
    data_bytes: int = 0  # without holes
    changed_ns: int = 0
    free_bytes: int = 0  # of the file system that it lies on
    unreadable: str = ""
