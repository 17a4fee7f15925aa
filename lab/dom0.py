"""A shell into a host's dom0 over its channel, by the lab's own key: one connection, kept open, opened again when lost.

For the lab (toolstack, `shoal-lab run`); the product has its own way in. Must not know what the commands do.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import asyncssh

from lab import network
from lab.topology import Host, Lab

# A host that says nothing for so long is taken for gone.
KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 5, 3
CLOSE_TIMEOUT_S = 10.0
WRITE_FILE = 'umask 077; mkdir -p "${1%/*}" && cat > "$1.tmp" && chmod "$2" "$1.tmp" && mv "$1.tmp" "$1"'


class Dom0Unreachable(Exception):
    """No connection, or one that broke: whether a command ran that was under way is not known."""


class Dom0CommandTimeout(Exception):
    """A command took too long; its connection has been closed, which ends the command."""


@dataclass(frozen=True, slots=True)
class Answer:
    code: int  # 128 + n for a command that was killed by signal n
    stdout: str
    stderr: str


class Dom0:
    """`async with Dom0(host, lab) as dom0: answer = await dom0.run([...], timeout_s=10)`"""

    def __init__(self, host: Host, lab: Lab, *, connect_timeout_s: float = 15.0) -> None:
        self._host = host
        self._lab = lab
        self._connect_timeout_s = connect_timeout_s
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            with contextlib.suppress(TimeoutError):  # it is aborted, whether asyncssh has tidied up or not
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await connection.wait_closed()

    async def run(self, argv: Sequence[str], *, input: str | None = None, timeout_s: float) -> Answer:
        """Run a command to its end. Any exit code is an answer; raises only when there is none."""
        connection = await self._connect()
        try:
            async with asyncio.timeout(timeout_s):
                done = await connection.run(shlex.join(argv), input=input or "", errors="replace")
        except TimeoutError as error:
            await self._drop(connection)
            raise Dom0CommandTimeout(f"{self._host.name}: took longer than {timeout_s:g} s: {argv[0]}") from error
        except (OSError, asyncssh.Error) as error:
            await self._drop(connection)
            raise Dom0Unreachable(f"{self._host.name}: the connection broke while {argv[0]} ran: {error}") from error
        if done.returncode is None:
            raise Dom0Unreachable(f"{self._host.name}: {argv[0]} ended without an exit code")
        code = done.returncode if done.returncode >= 0 else 128 - done.returncode
        return Answer(code, str(done.stdout), str(done.stderr))

    async def open(self, argv: Sequence[str], *, timeout_s: float) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command with its input and output open, in bytes: for data too big to hold."""
        connection = await self._connect()
        try:
            async with asyncio.timeout(timeout_s):
                return await connection.create_process(shlex.join(argv), encoding=None)
        except (TimeoutError, OSError, asyncssh.Error) as error:
            await self._drop(connection)
            raise Dom0Unreachable(f"{self._host.name}: {argv[0]} could not be started: {error}") from error

    async def write_file(self, path: str, content: str, *, mode: int = 0o644, timeout_s: float = 20.0) -> None:
        """Replace a file as a whole."""
        answer = await self.run(["sh", "-c", WRITE_FILE, "sh", path, f"{mode:o}"], input=content, timeout_s=timeout_s)
        if answer.code != 0:
            raise OSError(f"{self._host.name}: cannot write {path}: {answer.stderr.strip()}")

    async def read_file(self, path: str, *, timeout_s: float = 20.0) -> str:
        answer = await self.run(["cat", path], timeout_s=timeout_s)
        if answer.code != 0:
            raise FileNotFoundError(f"{self._host.name}: {answer.stderr.strip()}")
        return answer.stdout

    async def _connect(self) -> asyncssh.SSHClientConnection:
        async with self._opening:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> asyncssh.SSHClientConnection:
        host_key = asyncssh.read_public_key(self._host.dir / "ssh" / "ssh_host_ed25519_key.pub")
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                address, timeout_s = self._host.channel_dom0, self._connect_timeout_s
                wire = await asyncio.to_thread(network.connect, self._lab, address, 22, timeout_s=timeout_s)
                wire.setblocking(False)  # noqa: FBT003 (the standard library's own signature)
                return await asyncssh.connect(
                    self._host.channel_dom0,
                    sock=wire,
                    username="root",
                    client_keys=[str(self._lab.ssh_key)],
                    known_hosts=([host_key], [], []),
                    config=None,
                    agent_path=None,
                    keepalive_interval=KEEPALIVE_INTERVAL_S,
                    keepalive_count_max=KEEPALIVE_COUNT,
                    # The cheapest for an emulated CPU; nobody else is on this wire.
                    encryption_algs=["aes128-ctr", "chacha20-poly1305@openssh.com"],
                    compression_algs=None,
                )
        except (OSError, RuntimeError, asyncssh.Error) as error:
            reason = str(error) or f"no answer within {self._connect_timeout_s:g} s"
            raise Dom0Unreachable(f"{self._host.name}: no SSH to {self._host.channel_dom0}: {reason}") from error

    async def _drop(self, connection: asyncssh.SSHClientConnection) -> None:
        connection.abort()
        if self._connection is connection:
            self._connection = None
