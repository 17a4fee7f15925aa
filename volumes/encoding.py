"""Ceph's own encoding, as far as the OSD's `rbd` class needs it: little-endian numbers, strings with their length
first, structures with their version, the oldest version that may read them, and their length first.

Source: src/include/encoding.h (ENCODE_START, DECODE_START) of Ceph. It must not know what the values mean.
"""

from __future__ import annotations

import struct


def pack_string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def pack_u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def pack_i64(value: int) -> bytes:
    return struct.pack("<q", value)


def pack_map(values: dict[str, str]) -> bytes:
    return struct.pack("<I", len(values)) + b"".join(pack_string(k) + pack_string(v) for k, v in values.items())


def pack_struct(version: int, compat: int, content: bytes) -> bytes:
    return struct.pack("<BBI", version, compat, len(content)) + content


class Reader:
    """Takes values off the front of an encoded text. What is too short raises ValueError."""

    def __init__(self, data: bytes, start: int = 0, end: int = -1) -> None:
        self._data = data
        self._at = start
        self._end = len(data) if end < 0 else end

    def u8(self) -> int:
        return int(self._take("<B", 1))

    def u16(self) -> int:
        return int(self._take("<H", 2))

    def u32(self) -> int:
        return int(self._take("<I", 4))

    def u64(self) -> int:
        return int(self._take("<Q", 8))

    def i64(self) -> int:
        return int(self._take("<q", 8))

    def string(self) -> str:
        return self.text().decode()

    def text(self) -> bytes:
        return self.raw(self.u32())

    def raw(self, length: int) -> bytes:
        start = self._at
        self.skip(length)
        return self._data[start : start + length]

    def skip(self, length: int) -> None:
        if self._at + length > self._end:
            raise ValueError(f"truncated: {length} bytes wanted at {self._at} of {self._end}")
        self._at += length

    def structure(self) -> tuple[int, int, Reader]:
        """Version, oldest reader's version, and the content of the structure that comes next."""
        version, compat, length = self.u8(), self.u8(), self.u32()
        start = self._at
        self.skip(length)
        return version, compat, Reader(self._data, start, self._at)

    def _take(self, form: str, length: int) -> int:
        start = self._at
        self.skip(length)
        return int(struct.unpack_from(form, self._data, start)[0])
