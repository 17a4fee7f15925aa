"""A process that behaves as tapdisk does to tap-ctl and to those who ask its NBD server for the size of the disk.

`tapdisk.py FOLDER` prints its control socket and lives on in the background. It holds each disk's device open, asks for
its size only when it opens it, and ends when its last number is detached.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import selectors
import socket
import struct
import sys
from pathlib import Path
from typing import Any

CLOSED, PAUSED = 0x2, 0x20
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 1)
OPTION_EXPORT_NAME = 1


class Refused(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(os.strerror(code))
        self.code = code


class Disk:
    """What stands behind one number."""

    def __init__(self, lock: int) -> None:
        self.lock = lock
        self.args = ""
        self.flags = os.O_RDWR
        self.state = CLOSED
        self.descriptor = -1
        self.size_bytes = 0
        self.server: socket.socket | None = None

    def open(self) -> None:
        kind, _, path = self.args.partition(":")
        if kind != "aio":
            raise Refused(errno.EINVAL)
        self.descriptor = os.open(path, self.flags | os.O_CLOEXEC)
        self.size_bytes = os.lseek(self.descriptor, 0, os.SEEK_END)
        self.state = 0

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


class Tapdisk:
    def __init__(self, folder: Path) -> None:
        self.run = folder / "run"
        self.disks: dict[int, Disk] = {}
        self.waiting = selectors.DefaultSelector()
        self.control = self._listen(self.run / f"ctl{os.getpid()}", self._serve_control)
        self.ends = False

    def serve(self) -> None:
        while not self.ends:
            for key, _ in self.waiting.select():
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                connection.settimeout(5)
                with connection, contextlib.suppress(OSError, ValueError):
                    key.data(key.fileobj, connection)
        (self.run / f"ctl{os.getpid()}").unlink()

    def attach(self, minor: int) -> dict[str, Any]:
        if minor in self.disks:
            raise Refused(errno.EEXIST)
        lock = os.open(self.run / "tapdisk" / f"tapdisk-{minor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise Refused(errno.EBUSY) from None
        self.disks[minor] = Disk(lock)
        return {}

    def open(self, minor: int, args: str, read_only: bool) -> dict[str, Any]:
        disk = self._disk(minor)
        if disk.args:
            raise Refused(errno.EALREADY)
        disk.args, disk.flags = args, os.O_RDONLY if read_only else os.O_RDWR
        try:
            disk.open()
        except (OSError, Refused):
            disk.args = ""
            raise
        disk.server = self._listen(self._nbd(minor), self._serve_nbd)
        return {}

    def close(self, minor: int) -> dict[str, Any]:
        disk = self._disk(minor)
        if not disk.args:
            raise Refused(errno.EINVAL)
        disk.close()
        disk.args, disk.state = "", CLOSED
        if disk.server is not None:
            self.waiting.unregister(disk.server)
            disk.server.close()
            self._nbd(minor).unlink()
        return {}

    def detach(self, minor: int) -> dict[str, Any]:
        disk = self._disk(minor)
        if disk.args:
            raise Refused(errno.EBUSY)
        os.close(disk.lock)
        del self.disks[minor]
        self.ends = not self.disks
        return {}

    def pause(self, minor: int) -> dict[str, Any]:
        disk = self._disk(minor)
        if not disk.args:
            raise Refused(errno.EINVAL)
        disk.close()
        disk.state |= PAUSED
        return {}

    def unpause(self, minor: int, args: str | None) -> dict[str, Any]:
        disk = self._disk(minor)
        if not disk.state & PAUSED:
            raise Refused(errno.EINVAL)
        disk.args = args or disk.args
        disk.open()
        return {}

    def stats(self, minor: int) -> dict[str, Any]:
        disk = self._disk(minor)
        return {"stats": {"name": disk.args, "secs": [0, 0], "images": [{"name": disk.args}]}}

    def list(self) -> dict[str, Any]:
        rows = []
        for minor, disk in self.disks.items():
            row = f"pid={os.getpid()} minor={minor} state={disk.state:#x}".replace("state=0x0", "state=0")
            rows.append(row + (f" args={disk.args}" if disk.args else ""))
        return {"rows": rows}

    def _disk(self, minor: int) -> Disk:
        if minor not in self.disks:
            raise Refused(errno.ENODEV)
        return self.disks[minor]

    def _nbd(self, minor: int) -> Path:
        return self.run / f"nbd{os.getpid()}.{minor}"

    def _listen(self, path: Path, handler: Any) -> socket.socket:
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        self.waiting.register(server, selectors.EVENT_READ, handler)
        return server

    def _serve_control(self, _: Any, connection: socket.socket) -> None:
        request = json.loads(connection.makefile().readline())
        try:
            answer = {"error": 0, **getattr(self, request.pop("type"))(**request)}
        except Refused as refusal:
            answer = {"error": refusal.code}
        except OSError as error:
            answer = {"error": error.errno}
        connection.sendall(json.dumps(answer).encode() + b"\n")

    def _serve_nbd(self, server: Any, connection: socket.socket) -> None:
        """Newstyle, export name only: the size is all that anybody asks here."""
        disk = next(disk for disk in self.disks.values() if disk.server is server)
        connection.sendall(GREETING)
        stream = connection.makefile("rb")
        stream.read(4)  # the client's flags
        _, option, length = struct.unpack(">QII", stream.read(16))
        stream.read(length)
        if option == OPTION_EXPORT_NAME:
            connection.sendall(struct.pack(">QH", disk.size_bytes, 1) + bytes(124))


def main(argv: list[str]) -> None:
    """The first process ends when the one in the background listens, as tap-ctl expects."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.setsid()
    served = Tapdisk(Path(argv[1]))
    print(served.run / f"ctl{os.getpid()}", flush=True)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.write(writer, b".")
    os.close(writer)
    os.close(reader)
    served.serve()


if __name__ == "__main__":
    main(sys.argv)
