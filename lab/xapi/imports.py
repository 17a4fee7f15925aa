"""Raw disk images by HTTP, straight into the file behind a VDI, on the host that has it.

    PUT /import_raw_vdi?session_id=…&task_id=…&vdi=…&format=raw[&chunked=true]

As xapi does it: `200 OK` goes out before the body is read, so it says nothing; success or failure is the task's. A
Transfer-Encoding is refused. Plain body: raw bytes, as many as the VDI has. Chunked body: any number of
(offset u64, length u32, little endian, then so many bytes), the end being offset 0 and length 0; what is never sent
stays as it is, which in a fresh VDI is zero.

    GET /export_raw_vdi?session_id=…&vdi=…&format=raw     the whole VDI
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lab.xapi.failure import Failure, internal_error
from lab.xapi.toolstack import Toolstack

PIECE_BYTES = 1024**2
HOLE_BYTES = 64 * 1024
ZEROS = bytes(HOLE_BYTES)
CHUNK = struct.Struct("<QI")


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """Answered before a body is read."""

    status: int
    location: str = ""


def begin(toolstack: Toolstack, host_name: str, query: dict[str, str], path: str) -> dict[str, Any]:
    """The master's part before an import or export on a host: may it, and what is to be written where."""
    db = toolstack.db
    if not db.exists("session", query.get("session_id", "")):
        return {"status": 401}
    wanted = query.get("vdi", "")
    found = [wanted] if db.exists("VDI", wanted) else db.where("VDI", uuid=wanted)
    if not found:
        return {"status": 404}
    vdi = db.row("VDI", found[0])
    task = query.get("task_id") or toolstack.new_task(path.strip("/"))
    if db.get("SR", vdi["SR"], "type") != "ext":
        why = "the lab imports and exports disks of Local storage only"
        return _fail(toolstack, task, internal_error(why))
    if query.get("format", "raw") != "raw":
        return _fail(toolstack, task, internal_error(f"Unknown format {query['format']}")) | {"status": 404}
    hosts = [db.get("PBD", ref, "host") for ref in db.where("PBD", SR=vdi["SR"], currently_attached=True)]
    if not hosts:
        return _fail(toolstack, task, Failure("SR_HAS_NO_PBDS", vdi["SR"]))
    if toolstack.host_ref(host_name) not in hosts:
        return {"status": 302, "address": db.get("host", hosts[0], "address")}
    if any(db.get("VBD", ref, "currently_attached") for ref in vdi["VBDs"]):
        return _fail(toolstack, task, Failure("VDI_IN_USE", found[0]))
    return {"status": 200, "task": task, "location": vdi["location"], "size_bytes": vdi["virtual_size"]}


def _fail(toolstack: Toolstack, task: str, failure: Failure) -> dict[str, Any]:
    toolstack.end_task(task, failure=failure)
    return {"status": 500}


def receive(source: BinaryIO, file: Path, size_bytes: int, *, chunked: bool, progress: Callable[[float], None]) -> None:
    """Write a body into the file. Raises Failure when it is not what it should be."""
    with file.open("r+b", buffering=0) as target:
        buffer = memoryview(bytearray(PIECE_BYTES))
        if chunked:
            _receive_chunks(source, target.fileno(), size_bytes, buffer, progress)
        else:
            _receive_range(source, target.fileno(), 0, size_bytes, buffer, progress)


def _receive_chunks(
    source: BinaryIO, target: int, size_bytes: int, buffer: memoryview, progress: Callable[[float], None]
) -> None:
    header = memoryview(bytearray(CHUNK.size))
    while True:
        _fill(source, header)
        offset, length = CHUNK.unpack(header)
        if offset == 0 and length == 0:
            return
        if offset + length > size_bytes:
            raise internal_error(f"a chunk ends at {offset + length}, beyond the VDI's {size_bytes} bytes")
        _receive_range(source, target, offset, length, buffer, lambda _: None)
        progress((offset + length) / size_bytes)


def _receive_range(
    source: BinaryIO, target: int, offset: int, length: int, buffer: memoryview, progress: Callable[[float], None]
) -> None:
    done = 0
    while done < length:
        piece = buffer[: min(PIECE_BYTES, length - done)]
        _fill(source, piece)
        _write_but_zeros(target, piece, offset + done)
        done += len(piece)
        progress(done / length)


def _fill(source: BinaryIO, piece: memoryview) -> None:
    have = 0
    while have < len(piece):
        count = source.readinto(piece[have:])  # type: ignore[attr-defined]
        if not count:
            raise internal_error("End_of_file")
        have += count


def _write_but_zeros(target: int, piece: memoryview, offset: int) -> None:
    """A fresh VDI is zero: writing zeros would only make its file big. Runs of other blocks are written at once."""
    begun: int | None = None
    for start in range(0, len(piece), HOLE_BYTES):
        block = bytes(piece[start : start + HOLE_BYTES])
        if block != ZEROS[: len(block)]:
            begun = start if begun is None else begun
        elif begun is not None:
            os.pwrite(target, piece[begun:start], offset + begun)
            begun = None
    if begun is not None:
        os.pwrite(target, piece[begun:], offset + begun)
