"""The body of xapi's raw disk import in its sparse form: only what a file really holds crosses the wire.

xapi: `PUT /import_raw_vdi?…&chunked=true`, then chunks of (offset u64, length u32, data), little endian, ended by
twelve zero bytes. It answers 200 before it reads the body, so success is known from the task alone.
"""

from __future__ import annotations

import errno
import http.client
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from shoal.clients.https import ConnectionBroken, HttpsPool
from shoal.kit.errors import ShoalError

CHUNK_BYTES = 4 << 20
BLOCK_BYTES = 64 << 10
SECTOR_BYTES = 512  # a disk ends with a whole one, a file need not
SILENCE_TIMEOUT_S = 120.0
_HEADER = struct.Struct("<QI")
_END = _HEADER.pack(0, 0)
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file that one request sends."""

    start: int
    end: int


def data_ranges(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """(offset, length) of the stretches of a file that are no holes, in order."""
    size, position = os.fstat(file.fileno()).st_size, 0
    while position < size:
        try:
            start = os.lseek(file.fileno(), position, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            start, end = position, size  # the file system knows no holes
        yield start, end - start
        position = end


def without_zeros(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """The pieces of data that hold anything, in whole blocks, each with its place."""
    begin = None
    for position in range(0, len(data), BLOCK_BYTES):
        block = data[position : position + BLOCK_BYTES]
        is_zero = block == _ZEROS[: len(block)]
        if is_zero and begin is not None:
            yield offset + begin, data[begin:position]
            begin = None
        elif not is_zero and begin is None:
            begin = position
    if begin is not None:
        yield offset + begin, data[begin:]


def parts(source: Path, begin: int, data_bytes: int) -> Iterator[Part]:
    """The file from `begin` to its end, in parts that hold so many bytes of data each; holes count for nothing.

    Nothing lies between one part and the next, and the last one ends where the file does.
    """
    with _open(source) as file:
        start, held = begin, 0
        for place, length in data_ranges(file):
            position, end = max(place, begin), place + length
            while position < end:
                step = min(data_bytes - held, end - position)
                position, held = position + step, held + step
                if held == data_bytes:
                    yield Part(start, position)
                    start, held = position, 0
        size_bytes = os.fstat(file.fileno()).st_size
        if start < size_bytes:
            yield Part(start, size_bytes)


def send_image(
    https: HttpsPool, path: str, source: Path, progress: Callable[[int, int], None], part: Part | None = None
) -> None:
    """Send the file, or a part of it; blocking. Raises ConnectionBroken, also for an answer other than 200."""
    with _open(source) as file:
        connection = https.connect(SILENCE_TIMEOUT_S)
        try:
            _send(connection, path, file, progress, part or Part(0, os.fstat(file.fileno()).st_size))
            _finish(connection)
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionBroken(_answer_to(connection) or str(error) or type(error).__name__) from error
        finally:
            connection.close()


def _open(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        raise ShoalError(f"the image cannot be read: {error}") from error


def _send(
    connection: http.client.HTTPSConnection,
    path: str,
    file: BinaryIO,
    progress: Callable[[int, int], None],
    part: Part,
) -> None:
    ranges = list(_within(part, data_ranges(file)))
    total, done = sum(length for _, length in ranges), 0
    connection.putrequest("PUT", path)
    connection.putheader("Connection", "close")
    connection.endheaders()
    for start, length in ranges:
        for position in range(start, start + length, CHUNK_BYTES):
            data = os.pread(file.fileno(), min(CHUNK_BYTES, start + length - position), position)
            for offset, piece in without_zeros(position, data):
                padded = piece + bytes(-(offset + len(piece)) % SECTOR_BYTES)
                connection.send(_HEADER.pack(offset, len(padded)))
                connection.send(padded)
            done += len(data)
            progress(done, total)
    connection.send(_END)


def _within(part: Part, ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for place, length in ranges:
        start, end = max(place, part.start), min(place + length, part.end)
        if start < end:
            yield start, end - start


def _finish(connection: http.client.HTTPSConnection) -> None:
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise ConnectionBroken(f"HTTP {response.status} {response.reason}")
    # The server closes when it has written everything.
    while response.read(1 << 16):
        pass


def _answer_to(connection: http.client.HTTPSConnection) -> str:
    """What the server said before it stopped listening, if anything."""
    try:
        connection.sock.settimeout(2)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException, AttributeError):
        return ""
    return f"HTTP {response.status} {response.reason}"
