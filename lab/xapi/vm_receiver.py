"""Runs in the dom0 that a VM moves to: takes what `xl migrate` in another dom0 sends, and keeps it in a file.

It stands in for `xl migrate-receive`, which starts the domain at once, before its disks are here. Its argument is the
file. It prints the port that it waits on, goes on in the background and says to syslog why it failed. The stream's form
is in Xen's sources: xl.h, libxl_sr_stream_format.h, xg_sr_stream_format.h (xc_… in older ones).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import syslog
from collections.abc import Callable
from pathlib import Path

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = b"domain received, ready to unpause\0"
GO = b"domain is yours, you are cleared to unpause\0"
STARTED = b"my copy unpause results are as follows\0" + b"\0"  # not yet true: who sent it must let go first
CONNECT_TIMEOUT_S, STALL_S = 60.0, 120.0
HEADER = struct.Struct("=32s4I")  # magic; byte order, two words of flags, length of the configuration that follows
MAGIC = b"Xen saved domain, xl format\n \0 \r".ljust(32, b"\0")
STREAM_HEADER_BYTES, STREAM = 16, b"LibxlFmt"
MEMORY_MARK, MEMORY_HEADERS_BYTES = b"\xff" * 8, 24 + 16
RECORD = struct.Struct("=2I")  # type, length; its body is padded to 8 bytes
END, MEMORY = 0, 1  # types of records; MEMORY has no body, the guest's memory follows with records of its own

Take = Callable[[int], bytes]  # so many bytes, which are kept


def take_domain(take: Take) -> None:
    """To the end of the domain and not one byte more: the sender waits for an answer then."""
    magic, _, _, _, length = HEADER.unpack(take(HEADER.size))
    check(magic, MAGIC)
    take(length)
    check(take(STREAM_HEADER_BYTES)[: len(STREAM)], STREAM)
    while (kind := take_record(take)) != END:
        if kind == MEMORY:
            check(take(MEMORY_HEADERS_BYTES)[: len(MEMORY_MARK)], MEMORY_MARK)
            while take_record(take) != END:
                pass


def take_record(take: Take) -> int:
    kind, length = RECORD.unpack(take(RECORD.size))
    take(-(-length // 8) * 8)
    return int(kind)


def check(found: bytes, wanted: bytes) -> None:
    if found != wanted:
        raise ValueError(f"this is not what xl sends: {found!r}")


def keep(wire: socket.socket, path: Path) -> None:
    """The file is there when all of it is."""
    wire.sendall(BANNER)
    part = path.with_name(f"{path.name}.part")
    try:
        with wire.makefile("rb") as source, part.open("wb") as file:

            def take(count: int) -> bytes:
                data = source.read(count)
                if len(data) < count:
                    raise EOFError("it broke off")
                file.write(data)
                return data

            take_domain(take)
            file.flush()
            part.replace(path)
            wire.sendall(READY)
            check(source.read(len(GO)), GO)
            wire.sendall(STARTED)
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    os.umask(0o077)
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    server = socket.create_server(("", 0))
    server.settimeout(CONNECT_TIMEOUT_S)
    print(server.getsockname()[1], flush=True)
    if os.fork():
        os._exit(0)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    try:
        wire, _ = server.accept()
        wire.settimeout(STALL_S)
        with wire:
            keep(wire, path)
    except (OSError, EOFError, ValueError) as error:
        syslog.syslog(syslog.LOG_ERR, f"the memory for {path} was not taken: {error}")


if __name__ == "__main__":
    main()
