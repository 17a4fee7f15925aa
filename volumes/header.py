"""An RBD image's header, asked directly: its size and its metadata, without opening the image.

Opening an image takes about ten round trips; these take one each. They are the calls of the OSD's `rbd` class that
librbd and the kernel make themselves, so they are as stable as the wire. Metadata is written this way as well because
librbd wants the exclusive lock for it, and a running VM's host keeps that lock.
"""

from __future__ import annotations

import struct
from typing import Any, Optional

import rados

NO_SNAPSHOT = 0xFFFFFFFFFFFFFFFE
METADATA_PREFIX = "shoal."  # ours; librbd's own settings start with conf_
METADATA_MAX = 64  # entries asked for at once: we keep a handful
ANSWER_MAX_BYTES = 256 * 1024
_SIZE_REQUEST = struct.pack("<Q", NO_SNAPSHOT)
_METADATA_REQUEST = struct.pack("<IQ", 0, METADATA_MAX)


def header_object(image_id: str) -> str:
    return f"rbd_header.{image_id}"


def id_object(name: str) -> str:
    return f"rbd_id.{name}"


def find_id(ioctx: Any, name: str) -> Optional[str]:
    """The id of the image of that name, or None. An image whose creation was cut short may have one, too."""
    try:
        answer = ioctx.read(id_object(name), 256)
    except rados.ObjectNotFound:
        return None
    return _unpack_string(answer, 0)[0].decode() if answer else None


def read_size(ioctx: Any, image_id: str) -> int:
    _, answer = ioctx.execute(header_object(image_id), "rbd", "get_size", _SIZE_REQUEST, 64)
    return decode_size(answer)


def read_metadata(ioctx: Any, image_id: str) -> dict[str, str]:
    oid = header_object(image_id)
    _, answer = ioctx.execute(oid, "rbd", "metadata_list", _METADATA_REQUEST, ANSWER_MAX_BYTES)
    return decode_metadata(answer)


def write_metadata(ioctx: Any, image_id: str, values: dict[str, Optional[str]]) -> None:
    """Set each key; None removes it. Each may be repeated."""
    oid = header_object(image_id)
    kept = {METADATA_PREFIX + key: value for key, value in values.items() if value is not None}
    if kept:
        request = struct.pack("<I", len(kept)) + b"".join(_pack_string(k) + _pack_string(v) for k, v in kept.items())
        ioctx.execute(oid, "rbd", "metadata_set", request, 64)
    for key in [key for key, value in values.items() if value is None]:
        ioctx.execute(oid, "rbd", "metadata_remove", _pack_string(METADATA_PREFIX + key), 64)


def decode_size(answer: bytes) -> int:
    return int(struct.unpack_from("<BQ", answer)[1])


def decode_metadata(answer: bytes) -> dict[str, str]:
    """Our own entries of an encoded map of strings, without their prefix."""
    (count,) = struct.unpack_from("<I", answer)
    offset, found = 4, {}
    for _ in range(count):
        key, offset = _unpack_string(answer, offset)
        value, offset = _unpack_string(answer, offset)
        name = key.decode()
        if name.startswith(METADATA_PREFIX):
            found[name[len(METADATA_PREFIX) :]] = value.decode()
    return found


def _pack_string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _unpack_string(data: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from("<I", data, offset)
    start = offset + 4
    if start + length > len(data):
        raise ValueError(f"truncated answer: a string of {length} bytes at {offset} of {len(data)}")
    return data[start : start + length], start + length
