"""The SSH client against real servers on loopback: a good one, and some that hang, lie or go away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol

import asyncssh
import pytest

from shoal.clients.pins import PinChanged, Pins
from shoal.clients.ssh import (
    CONNECT_TIMEOUT_S,
    Access,
    AccessDenied,
    CommandFailed,
    CommandTimedOut,
    Ssh,
    TooMuchOutput,
    Unreachable,
)
from shoal.kit.errors import ShoalError, TemporaryError
from shoal.kit.secret import Secret
from shoal.kit.shipped import ShippedFile, pack

PASSWORD = "correct horse"


class Server(asyncssh.SSHServer):
    logins = 0
    passwords_seen = 0
    floods_ended = 0
    connections: ClassVar[list[asyncssh.SSHServerConnection]] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        Server.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        Server.passwords_seen += 1
        Server.logins += password == PASSWORD
        return password == PASSWORD


async def execute(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run what is asked for, as sshd does: by a shell."""
    assert process.command is not None
    if process.command == "drop":
        process.channel.get_connection().abort()
        return
    if process.command.startswith("flood"):
        stream = process.stderr if "stderr" in process.command else process.stdout
        try:
            while True:
                stream.write(bytes(1 << 16))
                await stream.drain()
        finally:
            Server.floods_ended += 1
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", process.command, stdin=-1, stdout=-1, stderr=-1, start_new_session=True
    )
    try:
        out, err = await child.communicate(await process.stdin.read())
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # what the shell has started holds the same pipes
        await child.communicate()
        raise
    assert child.returncode is not None
    process.stdout.write(out)
    process.stderr.write(err)
    process.exit(child.returncode)


@contextlib.asynccontextmanager
async def server(
    port: int = 0, key: asyncssh.SSHKey | None = None, **settings: Any
) -> AsyncIterator[asyncssh.SSHAcceptor]:
    key = key or asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=Server,
        server_host_keys=[key],
        process_factory=execute,
        encoding=None,
        **settings,
    )
    try:
        yield listener
    finally:
        listener.close()
        while Server.connections:
            Server.connections.pop().abort()
        await listener.wait_closed()


class Client(Protocol):
    def __call__(self, port: int, password: str = ..., *, connect_timeout_s: float = ...) -> Ssh: ...


@pytest.fixture
def client(tmp_path: Path) -> Client:
    def make(port: int, password: str = PASSWORD, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> Ssh:
        access, pins = Access(password=Secret(password), port=port), Pins(tmp_path / "pins")
        return Ssh("xen1", "127.0.0.1", access, pins=pins, connect_timeout_s=connect_timeout_s)

    return make


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def test_runs_quotes_and_keeps_one_connection(client: Client) -> None:
    async with server() as listener:
        Server.logins = 0
        ssh = client(listener.get_port())
        word = "a 'b' \"c\" $HOME `id` \\ \n*"
        done = await asyncio.gather(*(ssh.run(["printf", "%s", f"{n} {word}"], timeout_s=5) for n in range(20)))
        assert [one.stdout for one in done] == [f"{n} {word}" for n in range(20)]
        assert Server.logins == 1
        assert (await ssh.run(["cat"], input=b"\x00\xff", timeout_s=5)).stdout == "\x00\ufffd"
        failed = await ssh.run(["sh", "-c", "echo no >&2; exit 3"], timeout_s=5, check=False)
        assert (failed.code, failed.stderr) == (3, "no\n")
        with pytest.raises(CommandFailed) as raised:
            await ssh.run(["sh", "-c", "echo no >&2; exit 3"], timeout_s=5)
        assert raised.value.code == 3
        assert raised.value.details == "no"
        await ssh.close()


async def test_files_are_written_whole_or_not_at_all(client: Client, tmp_path: Path) -> None:
    async with server() as listener:
        ssh = client(listener.get_port())
        path = tmp_path / "a b" / "it's"
        assert await ssh.read_file(str(path)) is None
        data = bytes(range(256)) * 4096
        await ssh.write_file(str(path), data, mode=0o640)
        assert path.read_bytes() == data
        assert path.stat().st_mode & 0o777 == 0o640
        assert await ssh.read_file(str(path)) == data
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        with pytest.raises(CommandFailed):
            await ssh.write_file(str(path / "x"), b"a file is no folder")
        await ssh.close()


async def test_several_files_are_written_and_read_in_one_go(client: Client, tmp_path: Path) -> None:
    first, second, missing = (str(tmp_path / "a folder" / name) for name in ("first", "second\nline", "missing"))
    async with server() as listener:
        ssh = client(listener.get_port())
        data = bytes(range(256)) * 4096
        await ssh.write_files([ShippedFile(first, data, 0o600), ShippedFile(second, b"")])
        assert await ssh.read_files([first, missing, second]) == [data, None, b""]
        assert (await ssh.run(["stat", "-c", "%a", first, second], timeout_s=5)).stdout.split() == ["600", "644"]
        assert len(list((tmp_path / "a folder").iterdir())) == 2
        with pytest.raises(CommandFailed):
            await ssh.write_files([ShippedFile(first, b"new"), ShippedFile(f"{first}/x", b"a file is no folder")])
        assert await ssh.read_file(first) == data
        await ssh.close()


async def test_an_archive_cut_short_replaces_no_file(client: Client, tmp_path: Path) -> None:
    from shoal.clients.ssh import _WRITE_ALL

    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("old")
    whole = pack([ShippedFile(f"{path}.shoal-new", b"new") for path in (first, second)])
    async with server() as listener:
        ssh = client(listener.get_port())
        argv = ["sh", "-c", _WRITE_ALL, "sh", str(first), str(second)]
        done = await ssh.run(argv, input=whole[:1024], timeout_s=5, check=False)  # ends between two files
        assert done.code != 0 and first.read_text() == "old" and not second.exists()
        assert not [name for name in names_in(tmp_path) if name.endswith(".shoal-new")]
        await ssh.close()


async def test_data_cut_short_never_replace_a_file(client: Client, tmp_path: Path) -> None:
    from shoal.clients.ssh import _WRITE

    path = tmp_path / "file"
    path.write_text("old")
    async with server() as listener:
        ssh = client(listener.get_port())
        done = await ssh.run(["sh", "-c", _WRITE, "sh", str(path), "644", "10"], input=b"123", timeout_s=5, check=False)
        assert done.code == 75
        await ssh.close()
    assert path.read_text() == "old"
    assert [name for name in names_in(tmp_path) if name.startswith("file")] == ["file"]


async def test_a_slow_command_times_out_and_the_connection_stays_good(client: Client) -> None:
    async with server() as listener:
        ssh = client(listener.get_port())
        with pytest.raises(CommandTimedOut, match="longer than 0.3 s: sleep 20"):
            await ssh.run(["sleep", "20"], timeout_s=0.3)
        assert (await ssh.run(["echo", "yes"], timeout_s=5)).stdout == "yes\n"
        await ssh.close()


async def test_much_output_on_both_streams_comes_whole(client: Client) -> None:
    async with server() as listener:
        ssh = client(listener.get_port())
        done = await ssh.run(["sh", "-c", "head -c 4000000 /dev/zero | tee /dev/stderr"], timeout_s=20)
        assert done.stdout == done.stderr == "\0" * 4000000
        await ssh.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_command_that_prints_without_end_is_ended_and_said(
    client: Client, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr("shoal.clients.ssh.OUTPUT_MAX_BYTES", 3 << 20)
    async with server() as listener:
        ssh = client(listener.get_port())
        before = Server.floods_ended
        with pytest.raises(
            TooMuchOutput, match=f"on xen1, a command printed more than 3 MiB: flood {stream}"
        ) as raised:
            await ssh.run(["flood", stream], timeout_s=20)
        assert not isinstance(raised.value, TemporaryError)
        async with asyncio.timeout(10):
            while Server.floods_ended == before:  # noqa: ASYNC110  the server is in this loop, and has no event
                await asyncio.sleep(0.01)
        assert (await ssh.run(["echo", "yes"], timeout_s=5)).stdout == "yes\n"
        await ssh.close()


async def test_a_server_that_insists_on_compression_is_not_talked_to(client: Client) -> None:
    async with server(compression_algs=["zlib@openssh.com"]) as listener:
        with pytest.raises(Unreachable, match="compression"):
            await client(listener.get_port()).run(["true"], timeout_s=5)


async def test_a_lost_connection_is_said_and_made_again(client: Client) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with server(key=key) as listener:
        port = listener.get_port()
        ssh = client(port)
        with pytest.raises(Unreachable, match="stopped answering"):
            await ssh.run(["drop"], timeout_s=5)
        assert (await ssh.run(["echo", "1"], timeout_s=5)).stdout == "1\n"
    async with server(port, key=key):
        assert (await ssh.run(["echo", "2"], timeout_s=5)).stdout == "2\n"
    with pytest.raises(Unreachable) as raised:
        await ssh.run(["echo", "3"], timeout_s=5)
    assert isinstance(raised.value, TemporaryError)
    await ssh.close()


async def test_another_host_key_is_refused_before_the_password_is_sent(client: Client) -> None:
    async with server() as listener:
        port = listener.get_port()
        ssh = client(port)
        await ssh.run(["true"], timeout_s=5)
        await ssh.close()
    Server.passwords_seen = 0
    async with server(port):
        with pytest.raises(PinChanged):
            await client(port).run(["true"], timeout_s=5)
    assert Server.passwords_seen == 0


async def test_a_wrong_password_is_not_worth_trying_again_and_not_shown(client: Client) -> None:
    async with server() as listener:
        with pytest.raises(AccessDenied) as raised:
            await client(listener.get_port(), password="s3cret").run(["true"], timeout_s=5)
    assert not isinstance(raised.value, TemporaryError)
    assert "s3cret" not in f"{raised.value} {raised.value.details} {raised.value.resolution}"


def test_a_bad_key_is_said_without_showing_it(tmp_path: Path) -> None:
    ssh = Ssh("vm", "127.0.0.1", Access(key=Secret("-----BEGIN x s3cret")), pins=Pins(tmp_path / "pins"))
    with pytest.raises(ShoalError) as raised:
        asyncio.run(ssh.run(["true"], timeout_s=5))
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read(1 << 20)
        await asyncio.sleep(60)


async def close_half_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-x")
    writer.close()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)) * 64)
    with contextlib.suppress(OSError):
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("behaviour", [hang, close_half_way, garbage])
async def test_a_broken_server_is_unreachable_in_time(
    client: Client, behaviour: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    listener = await asyncio.start_server(behaviour, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with asyncio.timeout(5):
        with pytest.raises(Unreachable):
            await client(port, connect_timeout_s=0.5).run(["true"], timeout_s=3)
    listener.close()
