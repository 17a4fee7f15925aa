"""How a toolstack does things in its own dom0: over the lab's channel by SSH, or (in tests) right here.

Must not know what is done. Arguments are lists; quoting for the far shell happens here only.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncssh

from lab.command import Completed, Pipe, run
from lab.dom0 import Dom0 as Channel
from lab.dom0 import Dom0CommandTimeout, Dom0Unreachable
from lab.topology import Host, Lab

SECTOR_BYTES = 512
LOOK_TIMEOUT_S = 30.0
STALL_S = 120.0  # a stream that moves nothing for so long is given up: Ceph may take a dead host's lock meanwhile
Answer = TypeVar("Answer")


class Stream(Protocol):
    """A command that runs in dom0 with its input and output open. Each step is bounded in time; raises OSError."""

    def write(self, data: bytes | memoryview) -> None:
        """Give it more input."""

    def read(self, limit_bytes: int) -> bytes:
        """What it says next, b"" at its end."""

    def finish(self) -> Completed:
        """Close its input and wait for its end; any exit code is an answer."""

    def kill(self) -> None:
        """End it if it still runs. Idempotent."""


class Dom0(Protocol):
    """A dom0. `name` is its host's."""

    name: str

    def run(self, argv: Sequence[str], *, timeout_s: float, input: str | None = None) -> Completed:
        """Run to the end; any exit code is an answer. Raises OSError if dom0 cannot be reached."""

    def write(self, path: str, text: str) -> None:
        """Replace a small file as a whole. Raises OSError."""

    def open(self, argv: Sequence[str]) -> Stream:
        """Start a command whose input and output are streams of bytes."""


class LocalDom0:
    """This machine as dom0, with another folder for its root: what tests use. Commands are run as they are."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def run(self, argv: Sequence[str], *, timeout_s: float, input: str | None = None) -> Completed:
        done = run(self._inside(argv), timeout_s=timeout_s, input=input, check=False)
        return Completed(done.stdout.replace(f"{self.root}/", "/"), done.stderr, done.code)

    def open(self, argv: Sequence[str]) -> Stream:
        return Pipe(self._inside(argv), stall_s=STALL_S)

    def _inside(self, argv: Sequence[str]) -> list[str]:
        """Absolute paths of what is there mean this dom0's; a new file's folder must be there."""
        return [str(self.root / word[1:]) if self._is_here(word) else word for word in argv]

    def _is_here(self, word: str) -> bool:
        if not word.startswith("/") or len(word) > 1000:
            return False
        path = self.root / word[1:]
        return path.exists() or path.parent != self.root and path.parent.exists()

    def write(self, path: str, text: str) -> None:
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(f"{target.name}.tmp")
        new.write_text(text)
        new.replace(target)


class SshDom0:
    """A real dom0 over its channel, by one SSH connection that is kept open and made anew when it breaks."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self.name = host.name
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="dom0", daemon=True).start()
        self._channel = Channel(host, lab)

    def run(self, argv: Sequence[str], *, timeout_s: float, input: str | None = None) -> Completed:
        done = self._wait(self._channel.run(list(argv), input=input, timeout_s=timeout_s))
        return Completed(done.stdout, done.stderr, done.code)

    def write(self, path: str, text: str) -> None:
        self._wait(self._channel.write_file(path, text))

    def open(self, argv: Sequence[str]) -> Stream:
        return _SshStream(self, argv[0], self._wait(self._channel.open(list(argv), timeout_s=LOOK_TIMEOUT_S)))

    def wait_moving(self, what: Coroutine[Any, Any, Answer]) -> Answer:
        """A stream's next step."""

        async def bounded() -> Answer:
            async with asyncio.timeout(STALL_S):
                return await what

        try:
            return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()
        except (TimeoutError, asyncssh.Error) as error:
            raise OSError(f"{self.name}: the stream broke off: {error or 'nothing moved'}") from error

    def _wait(self, what: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return asyncio.run_coroutine_threadsafe(what, self._loop).result()
        except (Dom0Unreachable, Dom0CommandTimeout) as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _SshStream:
    """A command over SSH, seen from a thread."""

    dom0: SshDom0
    command: str
    process: asyncssh.SSHClientProcess[bytes]

    def write(self, data: bytes | memoryview) -> None:
        self.dom0.wait_moving(self._write(bytes(data)))

    async def _write(self, data: bytes) -> None:
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    def read(self, limit_bytes: int) -> bytes:
        return bytes(self.dom0.wait_moving(self.process.stdout.read(limit_bytes)))

    def finish(self) -> Completed:
        return self.dom0.wait_moving(self._finish())

    async def _finish(self) -> Completed:
        self.process.stdin.write_eof()
        done = await self.process.wait()
        if done.returncode is None:
            raise OSError(f"{self.dom0.name}: {self.command} ended without an exit code")
        return Completed(_text(done.stdout), _text(done.stderr), done.returncode)

    def kill(self) -> None:
        async def end() -> None:
            with contextlib.suppress(OSError, asyncssh.Error):  # it has ended, or its connection has
                self.process.kill()
            self.process.close()

        self.dom0.wait_moving(end())


def _text(said: Any) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said or "")


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """A disk or partition of dom0: where it lies on its disk."""

    name: str
    start_bytes: int
    size_bytes: int


def find(dom0: Dom0, path: str) -> BlockDevice | None:
    """The block device behind a path or link in dom0, None if there is none."""
    name = dom0.run(["readlink", "-f", path], timeout_s=LOOK_TIMEOUT_S).stdout.strip().rpartition("/")[2]
    size = dom0.run(["cat", f"/sys/class/block/{name}/size"], timeout_s=LOOK_TIMEOUT_S)
    if not name or size.code != 0:
        return None
    start = dom0.run(["cat", f"/sys/class/block/{name}/start"], timeout_s=LOOK_TIMEOUT_S)
    start_sectors = int(start.stdout) if start.code == 0 else 0  # a whole disk has no start
    return BlockDevice(name, start_sectors * SECTOR_BYTES, int(size.stdout) * SECTOR_BYTES)
