"""All volumes of a pool with sizes and metadata, fast: header reads in a pipeline instead of opening image after image.

An image that cannot be read is reported by name, never left out: xapi forgets a disk that a scan does not list.
"""

from __future__ import annotations

import collections
import errno
import threading
from typing import Any, Optional

import rbd

from volumes import header
from volumes.errors import ServiceError

IMAGE_PREFIX = "vdi-"
IN_FLIGHT = 128


def read_names(ioctx: Any) -> dict[str, str]:
    """Volume id → image id of every volume in the pool's directory."""
    entries = rbd.RBD().list2(ioctx)
    start = len(IMAGE_PREFIX)
    return {entry["name"][start:]: entry["id"] for entry in entries if entry["name"].startswith(IMAGE_PREFIX)}


def read_all(ioctx: Any, timeout_s: float) -> dict[str, Any]:
    """`volumes` that could be read and `broken`, those that could not (with the reason)."""
    names = read_names(ioctx)
    answers = _Pipeline(ioctx).read(list(names.values()), timeout_s)
    volumes: list[dict[str, Any]] = []
    failed: dict[str, int] = {}
    for volume_id, image_id in names.items():
        code, size, metadata = answers[image_id]
        if code == errno.ERANGE:
            code, metadata = 0, header.read_metadata(ioctx, image_id)
        if code:
            failed[volume_id] = code
        else:
            volumes.append({"id": volume_id, "size_bytes": size, "metadata": metadata})
    return {"volumes": volumes, "broken": _still_there(ioctx, failed)}


def _still_there(ioctx: Any, failed: dict[str, int]) -> list[dict[str, Any]]:
    """Of the images that could not be read, those that were not simply removed meanwhile."""
    if not failed:
        return []
    names = read_names(ioctx)
    return [
        {"id": volume_id, "error": f"its header cannot be read: {errno.errorcode.get(code, code)}"}
        for volume_id, code in failed.items()
        if volume_id in names
    ]


class _Pipeline:
    """Keeps up to IN_FLIGHT images' header reads under way. The callbacks run in librados' threads."""

    def __init__(self, ioctx: Any) -> None:
        self._ioctx = ioctx
        self._slots = threading.BoundedSemaphore(IN_FLIGHT)
        self._sizes: dict[str, tuple[int, int]] = {}
        self._metadata: dict[str, tuple[int, dict[str, str]]] = {}
        self._running: collections.deque[Any] = collections.deque()

    def read(self, image_ids: list[str], timeout_s: float) -> dict[str, tuple[int, int, dict[str, str]]]:
        """Image id → (errno or 0, size, metadata)."""
        for image_id in image_ids:
            self._start(image_id, timeout_s)
        for _ in range(IN_FLIGHT):
            if not self._slots.acquire(timeout=timeout_s):
                raise ServiceError(504, "timeout", f"listing: no answer from Ceph within {timeout_s:g} s")
        return {image_id: self._joined(image_id) for image_id in image_ids}

    def _joined(self, image_id: str) -> tuple[int, int, dict[str, str]]:
        size_code, size = self._sizes[image_id]
        metadata_code, metadata = self._metadata[image_id]
        return size_code or metadata_code, size, metadata

    def _start(self, image_id: str, timeout_s: float) -> None:
        if not self._slots.acquire(timeout=timeout_s):
            raise ServiceError(504, "timeout", f"listing: no answer from Ceph within {timeout_s:g} s")

        def got_size(completion: Any, answer: Optional[bytes]) -> None:
            self._sizes[image_id] = _decoded(completion, answer, header.decode_size, 0)
            if image_id in self._metadata:
                self._slots.release()

        def got_metadata(completion: Any, answer: Optional[bytes]) -> None:
            self._metadata[image_id] = _decoded(completion, answer, header.decode_metadata, {})
            if image_id in self._sizes:
                self._slots.release()

        header.start_size(self._ioctx, image_id, got_size)
        header.start_metadata(self._ioctx, image_id, got_metadata)


def _decoded(completion: Any, answer: Optional[bytes], decode: Any, nothing: Any) -> tuple[int, Any]:
    """(errno, value). Nothing may be raised in librados' thread, so an answer that makes no sense becomes EIO."""
    code = completion.get_return_value()
    if code < 0:
        return -code, nothing
    try:
        return 0, decode(answer)
    except (ValueError, IndexError, UnicodeDecodeError, TypeError) as error:
        return errno.EIO, nothing if error else nothing
