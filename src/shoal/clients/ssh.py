"""SSH to one machine: run a command, read or write a file. One connection, kept open and made again when lost.

argv is quoted here and nowhere else. Must not know what a dom0 or a storage VM is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

import asyncssh

from shoal.clients.pins import Pins
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.secret import Secret
from shoal.kit.shipped import ShippedFile, pack

CONNECT_TIMEOUT_S = 30.0
FILE_TIMEOUT_S = 60.0
SESSIONS = 8
"""At once on one connection: sshd's own limit (MaxSessions) is 10."""

OUTPUT_MAX_BYTES = 64 << 20
"""What a command may print: the machine asked may be somebody else's by now, and our memory is not its to fill."""
_READ_BYTES = 64 << 10

# Fixed here, so that a newer library with another order of preference does not see another key and call it a change.
HOST_KEY_ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")

_NEW = ".shoal-new"
# The length is checked since a connection lost half-way looks like the end of the file to `cat`.
_WRITE = """set -e; umask 077; t=$1.shoal-$$; trap 'rm -f -- "$t"' EXIT
d=${1%/*}; [ -z "$d" ] || [ -d "$d" ] || (umask 022; mkdir -p -- "$d")
cat >"$t"; [ "$(wc -c <"$t")" -eq "$3" ] || { echo "the data were cut short" >&2; exit 75; }
chmod "$2" -- "$t"; sync -- "$t"; mv -f -- "$t" "$1"; trap - EXIT"""
# Beside each file a new one, all from one archive on standard input; put in place in the order given. An archive that
# was cut short may still end well: so each file must be there before the first is put in place. Few processes: in a
# dom0 each costs a good part of a second.
_WRITE_ALL = f"""set -e; umask 022; trap 'for f; do rm -f -- "$f{_NEW}"; done' EXIT; tar -x -C /
for f; do [ -f "$f{_NEW}" ] || {{ echo "the data were cut short" >&2; exit 75; }}; done
(for f; do set -- "$@" "$f{_NEW}"; shift; done; exec sync -- "$@")
for f; do mv -f -- "$f{_NEW}" "$f"; done; trap - EXIT"""
# The length of each file, or -, in a line before its content. Opened once: it may be replaced at any time.
_READ_ALL = """for f; do if [ -e "$f" ]; then
{ n=$(wc -c </dev/fd/3) && echo "$n" && head -c "$n" <&3; } 3<"$f" || exit; else echo -; fi; done"""


@dataclass(frozen=True, slots=True)
class Completed:
    stdout: str
    stderr: str
    code: int


@dataclass(frozen=True, slots=True)
class Access:
    """How to get in: by key (a private key in OpenSSH's form), by password, or by either."""

    user: str = "root"
    password: Secret | None = None
    key: Secret | None = None
    port: int = 22


class Unreachable(TemporaryError):
    """The machine does not answer by SSH, or stopped answering in the middle."""


class AccessDenied(ShoalError):
    """The machine answers by SSH but lets us not in."""


class CommandFailed(ShoalError):
    """A remote command ended with an exit code other than 0. argv never holds a secret."""

    def __init__(self, name: str, argv: Sequence[str], completed: Completed) -> None:
        last = "\n".join((completed.stderr.strip() or completed.stdout.strip()).splitlines()[-12:])
        super().__init__(
            f"on {name}, a command failed with exit code {completed.code}: {_shown(argv)}", details=last[-3000:]
        )
        self.argv, self.completed, self.code = tuple(argv), completed, completed.code


class CommandTimedOut(TemporaryError):
    """A remote command took too long; it was told to end."""


class TooMuchOutput(ShoalError):
    """A remote command printed without end; it was told to end."""


class Ssh:
    """Connects at the first use. `identity` is what the host key is pinned under, if not the address."""

    def __init__(
        self,
        name: str,
        address: str,
        access: Access,
        *,
        pins: Pins,
        identity: str = "",
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self.name, self.address = name, address
        self._access, self._pins = access, pins
        self._identity = identity or (address if access.port == 22 else f"{address}:{access.port}")
        self._connect_timeout_s = connect_timeout_s
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._sessions = asyncio.Semaphore(SESSIONS)

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, input: bytes | None = None, check: bool = True
    ) -> Completed:
        """Run to the end. Raises Unreachable, CommandTimedOut, TooMuchOutput and, with check, CommandFailed."""
        code, out, err = await self._run(argv, timeout_s, input)
        completed = Completed(out.decode(errors="replace"), err.decode(errors="replace"), code)
        if check and code != 0:
            raise CommandFailed(self.name, argv, completed)
        return completed

    async def read_file(self, path: str) -> bytes | None:
        """The file's content, or None when there is no such file."""
        return (await self.read_files([path]))[0]

    async def read_files(self, paths: Sequence[str]) -> list[bytes | None]:
        """Each file's content, or None when there is no such file: one round trip for all."""
        code, out, err = await self._run(["sh", "-c", _READ_ALL, "sh", *paths], FILE_TIMEOUT_S, None)
        if code != 0:
            raise CommandFailed(self.name, ["cat", *paths], Completed("", err.decode(errors="replace"), code))
        found = _divide(out, self.name)
        if len(found) != len(paths):
            raise Unreachable(f"{self.name}: not all files came back")
        return found

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write beside, sync, rename: the path has the old content or all of the new one. Makes the folder."""
        argv = ["sh", "-c", _WRITE, "sh", path, f"{mode:o}", str(len(data))]
        code, _, err = await self._run(argv, FILE_TIMEOUT_S, data)
        if code != 0:
            raise CommandFailed(self.name, ["write", path], Completed("", err.decode(errors="replace"), code))

    async def write_files(self, files: Sequence[ShippedFile]) -> None:
        """As write_file, several in one round trip; they are put in place in this order."""
        paths = [file.path for file in files]
        data = pack(tuple(replace(file, path=file.path + _NEW) for file in files))
        code, _, err = await self._run(["sh", "-c", _WRITE_ALL, "sh", *paths], FILE_TIMEOUT_S, data)
        if code != 0:
            raise CommandFailed(self.name, ["write", *paths], Completed("", err.decode(errors="replace"), code))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(5):
                    await connection.wait_closed()

    async def _run(self, argv: Sequence[str], timeout_s: float, data: bytes | None) -> tuple[int, bytes, bytes]:
        async with self._sessions, self._session(argv, timeout_s) as process:
            try:
                async with asyncio.timeout(timeout_s):
                    if data:
                        process.stdin.write(data)
                    process.stdin.write_eof()
                    # Both at once: a full one would hold up the other. Not communicate(): it takes all that comes.
                    out, err = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                    await process.wait_closed()
            except TimeoutError as error:
                process.kill()
                raise CommandTimedOut(
                    f"on {self.name}, a command took longer than {timeout_s:g} s: {_shown(argv)}"
                ) from error
            except _Flood as error:
                process.kill()
                most = f"{OUTPUT_MAX_BYTES >> 20} MiB"
                raise TooMuchOutput(f"on {self.name}, a command printed more than {most}: {_shown(argv)}") from error
            except (OSError, asyncssh.Error) as error:
                raise self._lost(argv, str(error)) from error
            if process.returncode is None or process.exit_status is None:
                signal = process.exit_signal
                raise self._lost(argv, f"ended by signal {signal[0]}" if signal else "the connection was lost")
            return process.returncode, out, err

    @contextlib.asynccontextmanager
    async def _session(self, argv: Sequence[str], timeout_s: float) -> AsyncIterator[asyncssh.SSHClientProcess[bytes]]:
        process = await self._open(argv, timeout_s)
        try:
            yield process
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            process.close()

    async def _open(self, argv: Sequence[str], timeout_s: float) -> asyncssh.SSHClientProcess[bytes]:
        """Start the command; once more on a new connection if the kept one turns out to be dead."""
        command = shlex.join(argv)
        for attempt in (1, 2):
            kept = self._connection
            connection = await self._connected()
            try:
                async with asyncio.timeout(min(timeout_s, self._connect_timeout_s)):
                    return await connection.create_process(command, encoding=None)
            except (OSError, asyncssh.Error, TimeoutError) as error:
                # A host that was reset keeps silent about the old connection: do not trust it again.
                await self._drop(connection)
                if attempt == 2 or connection is not kept:
                    raise self._lost(argv, str(error) or "no answer") from error
        raise AssertionError("unreachable code")

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return self._connection
            self._connection = await self._connect()
            return self._connection

    async def _drop(self, connection: asyncssh.SSHClientConnection) -> None:
        connection.abort()
        if self._connection is connection:
            self._connection = None

    async def _connect(self) -> asyncssh.SSHClientConnection:
        access = self._access
        checker = _HostKeyChecker(self._pins, self._identity)
        try:
            keys = [asyncssh.import_private_key(access.key.reveal())] if access.key else None
        except (asyncssh.KeyImportError, ValueError):
            # Without the cause: its text could show a piece of the key.
            raise ShoalError(f"the SSH key for {self.name} cannot be read") from None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await asyncssh.connect(
                    self.address,
                    access.port,
                    config=None,
                    username=access.user,
                    password=access.password.reveal() if access.password else None,
                    client_keys=keys,
                    agent_path=None,
                    client_factory=lambda: checker,
                    known_hosts=lambda *_: ([], [], []),  # nothing is known by itself: the checker decides
                    server_host_key_algs=HOST_KEY_ALGORITHMS,
                    compression_algs=["none"],  # a packet of nothing unpacks to more than all memory
                    login_timeout=self._connect_timeout_s,
                    keepalive_interval=10,
                    keepalive_count_max=3,  # a login may be silent for 25 s while PAM waits for logind
                )
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self._connect_timeout_s:g} s") from error
        except asyncssh.PermissionDenied as error:
            raise self._denied() from error
        except (OSError, asyncssh.Error) as error:
            if checker.refused is not None:
                raise checker.refused from None
            raise self._unreachable(_said(error)) from error

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"{self.name} ({self.address}) does not answer by SSH: {why}",
            resolution=f"Check that it is up and that `ssh {self._access.user}@{self.address}` works from here.",
        )

    def _denied(self) -> AccessDenied:
        ways = (("key", self._access.key), ("password", self._access.password))
        tried = " and ".join(what for what, is_there in ways if is_there)
        return AccessDenied(
            f"{self.name} ({self.address}) refuses {self._access.user}'s {tried or 'empty login'} by SSH",
            resolution="Check the user, and the password or key file in the spec.",
        )

    def _lost(self, argv: Sequence[str], why: str) -> Unreachable:
        return Unreachable(f"{self.name} ({self.address}) stopped answering during {_shown(argv)}: {why}")


class _HostKeyChecker(asyncssh.SSHClient):
    """Asked before anything is sent that proves who we are."""

    def __init__(self, pins: Pins, identity: str) -> None:
        self._pins, self._identity = pins, identity
        self.refused: ShoalError | None = None

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        try:
            self._pins.check("SSH host key", self._identity, f"{key.get_algorithm()} {key.get_fingerprint()}")
        except ShoalError as error:
            self.refused = error
            return False
        return True


def _shown(argv: Sequence[str]) -> str:
    """A command line for people: scripts given to `sh -c` are cut."""
    text = shlex.join(argv).replace("\n", " ")
    return text if len(text) <= 300 else text[:297] + "…"


def _said(error: BaseException) -> str:
    """In the system's words, not the library's: "No route to host"."""
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def _divide(out: bytes, name: str) -> list[bytes | None]:
    """What _READ_ALL printed."""
    found: list[bytes | None] = []
    while out:
        size, _, out = out.partition(b"\n")
        if size == b"-":
            found.append(None)
        elif size.strip().isdigit() and int(size) <= len(out):
            found.append(out[: int(size)])
            out = out[int(size) :]
        else:
            raise Unreachable(f"{name}: a file came back cut short")
    return found


class _Flood(Exception):
    pass


async def _read(stream: asyncssh.SSHReader[bytes]) -> bytes:
    """To the end, if that comes in time."""
    data = bytearray()
    while part := await stream.read(_READ_BYTES):
        data += part
        if len(data) > OUTPUT_MAX_BYTES:
            raise _Flood
    return bytes(data)
