"""What a disk holds, as chunks: all that is not zero, each with its place. Runs in dom0 as a program of its own, too.

    python3 -c SOURCE read PATH SIZE_BYTES [BASE] > CHUNKS       what BASE has not, if one is given
    python3 -c SOURCE write PATH SIZE_BYTES < CHUNKS
    python3 -c SOURCE copy FROM TO SIZE_BYTES [BASE] > PROGRESS  lines with the bytes that are done

A chunk is its offset (u64) and length (u32), little endian, then its bytes; offset 0 with length 0 is the end. That is
what xapi's chunked import takes. Must not import anything of the lab: dom0 has none of it.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any

CHUNK = struct.Struct("<QI")
END = CHUNK.pack(0, 0)
PIECE_BYTES = 1024**2
BLOCK_BYTES = 64 * 1024
ALIGNMENT = 4096
ZEROS = bytes(BLOCK_BYTES)
Chunk = tuple[int, memoryview]


class NoGood(Exception):
    """A stream of chunks that is not what it should be."""


class Disk:
    """An open file or block device. Block devices are read and written past the cache (O_DIRECT) where aligned."""

    def __init__(self, path: str, *, writable: bool = False) -> None:
        flags = os.O_RDWR if writable else os.O_RDONLY
        self.plain = os.open(path, flags)
        self.is_device = stat.S_ISBLK(os.fstat(self.plain).st_mode)
        self.direct = os.open(path, flags | os.O_DIRECT) if self.is_device else self.plain

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in {self.plain, self.direct}:
            os.close(descriptor)

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer, from an aligned offset; beyond the end there are zeros."""
        done = 0
        while done < len(buffer):
            descriptor = self.direct if len(buffer) % ALIGNMENT == 0 and done % ALIGNMENT == 0 else self.plain
            count = os.preadv(descriptor, [buffer[done:]], offset + done)
            if count == 0:
                buffer[done:] = bytes(len(buffer) - done)
                return
            done += count

    def write(self, data: memoryview, offset: int) -> None:
        while data:
            aligned = offset % ALIGNMENT == 0 and len(data) % ALIGNMENT == 0
            count = os.pwrite(self.direct if aligned else self.plain, data, offset)
            offset, data = offset + count, data[count:]

    def next_data(self, offset: int) -> int:
        """Where the next data may begin: a file's holes are known without reading them."""
        if self.is_device:
            return offset
        try:
            return os.lseek(self.plain, offset, os.SEEK_DATA)
        except OSError:
            return sys.maxsize  # nothing but a hole up to the end

    def flush(self) -> None:
        os.fsync(self.plain)


def aligned_buffer() -> memoryview:
    """A page-aligned piece of memory, as O_DIRECT wants it."""
    return memoryview(mmap.mmap(-1, PIECE_BYTES))


def chunks(source: Disk, size_bytes: int, base: Disk | None = None) -> Iterator[Chunk]:
    """What is not zero, or not as in the base, in order. A chunk's memory is used again for the next."""
    buffer, other = aligned_buffer(), aligned_buffer()
    offset = 0
    while offset < size_bytes:
        if base is None:
            offset = max(offset, source.next_data(offset) // PIECE_BYTES * PIECE_BYTES)
        length = min(PIECE_BYTES, size_bytes - offset)
        if length <= 0:
            return
        source.read(buffer[:length], offset)
        if base is not None:
            base.read(other[:length], offset)
        for begin, end in runs(buffer[:length], None if base is None else other[:length]):
            yield offset + begin, buffer[begin:end]
        offset += length


def runs(piece: memoryview, base: memoryview | None = None) -> Iterator[tuple[int, int]]:
    """Begin and end of the runs of blocks that matter."""
    begun: int | None = None
    for start in range(0, len(piece), BLOCK_BYTES):
        block = bytes(piece[start : start + BLOCK_BYTES])
        same = ZEROS[: len(block)] if base is None else bytes(base[start : start + len(block)])
        if block != same:
            begun = start if begun is None else begun
        elif begun is not None:
            yield begun, start
            begun = None
    if begun is not None:
        yield begun, len(piece)


def parse(source: Callable[[memoryview], None], size_bytes: int) -> Iterator[Chunk]:
    """Chunks of a stream, cut into pieces, up to its end mark. `source` fills a buffer or raises."""
    buffer, header = aligned_buffer(), memoryview(bytearray(CHUNK.size))
    while True:
        source(header)
        offset, length = CHUNK.unpack(header)
        if offset == 0 and length == 0:
            return
        if offset + length > size_bytes:
            raise NoGood(f"a chunk ends at {offset + length}, beyond the VDI's {size_bytes} bytes")
        while length:
            piece = buffer[: min(PIECE_BYTES, length)]
            source(piece)
            yield offset, piece
            offset, length = offset + len(piece), length - len(piece)


def filler(stream: Any) -> Callable[[memoryview], None]:
    """Fills buffers from a file object."""

    def fill(buffer: memoryview) -> None:
        have = 0
        while have < len(buffer):
            count = stream.readinto(buffer[have:])
            if not count:
                raise NoGood("End_of_file")
            have += count

    return fill


def main(verb: str, path: str, *more: str) -> None:
    """The program."""
    if verb == "read":
        size_bytes, bases = int(more[0]), more[1:]
        with Disk(path) as source:
            for offset, data in _chunks_of(source, size_bytes, bases):
                sys.stdout.buffer.write(CHUNK.pack(offset, len(data)))
                sys.stdout.buffer.write(data)
        sys.stdout.buffer.write(END)
    elif verb == "write":
        with Disk(path, writable=True) as target:
            try:
                for offset, data in parse(filler(sys.stdin.buffer), int(more[0])):
                    target.write(data, offset)
            finally:
                target.flush()
    else:
        to, size_bytes, bases = more[0], int(more[1]), more[2:]
        with Disk(path) as source, Disk(to, writable=True) as target:
            for offset, data in _chunks_of(source, size_bytes, bases):
                target.write(data, offset)
                print(offset + len(data), flush=True)
            target.flush()


def _chunks_of(source: Disk, size_bytes: int, bases: tuple[str, ...]) -> Iterator[Chunk]:
    if not bases:
        yield from chunks(source, size_bytes)
        return
    with Disk(bases[0]) as base:
        yield from chunks(source, size_bytes, base)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, NoGood) as error:
        sys.exit(str(error))
