"""How a toolstack does things in its own dom0: over the lab's channel by SSH, or (in tests) right here.

Must not know what is done. Arguments are lists; quoting for the far shell happens here only.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lab.command import Completed, run
from lab.dom0 import Dom0 as Channel
from lab.dom0 import Dom0CommandTimeout, Dom0Unreachable
from lab.topology import Host, Lab

SECTOR_BYTES = 512
LOOK_TIMEOUT_S = 30.0
Answer = TypeVar("Answer")


class Dom0(Protocol):
    """A dom0. `name` is its host's."""

    name: str

    def run(self, argv: Sequence[str], *, timeout_s: float, input: str | None = None) -> Completed:
        """Run to the end; any exit code is an answer. Raises OSError if dom0 cannot be reached."""

    def write(self, path: str, text: str) -> None:
        """Write a small file."""


class LocalDom0:
    """This machine as dom0, with another folder for its root: what tests use. Commands are run as they are."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def run(self, argv: Sequence[str], *, timeout_s: float, input: str | None = None) -> Completed:
        inside = [
            str(self.root / word[1:]) if (self.root / word[1:]).exists() and word[0] == "/" else word for word in argv
        ]
        done = run(inside, timeout_s=timeout_s, input=input, check=False)
        return Completed(done.stdout.replace(f"{self.root}/", "/"), done.stderr, done.code)

    def write(self, path: str, text: str) -> None:
        target = self.root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


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

    def _wait(self, what: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return asyncio.run_coroutine_threadsafe(what, self._loop).result()
        except (Dom0Unreachable, Dom0CommandTimeout) as error:
            raise OSError(str(error)) from error


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
