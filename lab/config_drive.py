"""A storage VM's config drive, read as cloud-init would read it: an ISO 9660 image labelled CIDATA.

In a container cloud-init looks at no block device, so the lab lays the drive's files where it looks instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pycdlib

LABEL = "CIDATA"
NAMES = ("meta-data", "user-data", "network-config")
_DESCRIPTOR = 16 * 2048  # where an ISO 9660 image describes itself


def is_config_drive(disk: Path) -> bool:
    with disk.open("rb") as file:
        file.seek(_DESCRIPTOR)
        descriptor = file.read(2048)
    return descriptor[1:6] == b"CD001" and descriptor[40:72].decode("ascii", "replace").strip().upper() == LABEL


def copy(disk: Path, folder: Path) -> None:
    """Lay the drive's files into `folder`, and nothing else."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    image = pycdlib.PyCdlib()
    image.open(str(disk))
    try:
        kind = "rr_path" if image.has_rock_ridge() else "joliet_path"
        for name in NAMES:
            image.get_file_from_iso(str(folder / name), **{kind: f"/{name}"})
            (folder / name).chmod(0o600)
    finally:
        image.close()
