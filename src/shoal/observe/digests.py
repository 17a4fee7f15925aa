"""Digests of what Shoal would install now. The storage VM's image is read once: remembered by path, time and size."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

from shoal.clients.raw_import import BLOCK_BYTES, data_ranges
from shoal.kit import shipped
from shoal.kit.files import write_atomically

_ZEROS = bytes(BLOCK_BYTES)


async def wanted_digests(image: Path, state: Path, authority: Path | None = None) -> dict[str, str]:
    """ "storage_vm_image" is "" when the image cannot be read: nobody needs it where the VMs are there already.

    `authority` is the folder of one that is not in Ceph; "authority" is "" when there is none.
    """
    found = {
        "kit": shipped.digest(shipped.dom0_files()),
        "volume_service": shipped.digest(shipped.volume_service_files()),
    }
    if authority is not None:
        return {**found, "authority": await asyncio.to_thread(_digest, authority / "ca.pem")}
    return {**found, "storage_vm_image": await asyncio.to_thread(_remembered_digest, image, state / "images.json")}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def image_digest(image: Path) -> str:
    """sha256 over all blocks that are not zero, with their places: the same for a sparse file and a full copy."""
    digest = hashlib.sha256(image.stat().st_size.to_bytes(8, "little"))
    with image.open("rb") as file:
        last = -1
        for start, length in data_ranges(file):
            for block in range(max(start // BLOCK_BYTES, last + 1), -(-(start + length) // BLOCK_BYTES)):
                file.seek(block * BLOCK_BYTES)
                data = file.read(BLOCK_BYTES)
                if data != _ZEROS[: len(data)]:
                    digest.update(block.to_bytes(8, "little"))
                    digest.update(data)
                last = block
    return digest.hexdigest()


def _remembered_digest(image: Path, memory: Path) -> str:
    try:
        about = image.stat()
        key = f"{image.resolve()} {about.st_mtime_ns} {about.st_size}"
        known = _read(memory)
        if key not in known:
            known = {key: image_digest(image)}
            write_atomically(memory, json.dumps(known).encode())
        return known[key]
    except OSError:
        return ""


def _read(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}  # a memory that is lost costs seconds, no more
    return known if isinstance(known, dict) else {}
